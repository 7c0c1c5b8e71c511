// Threads that compute: they give way to whatever else wants the machine.
//
// A fill by the built-in model computes for hours on every core. The database is often on the same machine, and so are the
// threads that take edits up: each of their steps is short, and would wait behind what has the same priority.
#pragma once

#include <boost/asio/any_io_executor.hpp>

namespace homeostat {

// To be called before the pool has other work: waits until each of its `threads` threads has lowered its own priority. Where the
// system does not let them, they stay as they are.
void give_way(const boost::asio::any_io_executor& pool, unsigned threads);

}  // namespace homeostat
