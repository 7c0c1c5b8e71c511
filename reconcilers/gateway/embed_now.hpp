// The gateway for a thread that waits: a pass, not a batch.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <string>
#include <vector>

#include "reconcilers/gateway/gateway.hpp"

namespace homeostat {

// Blocks until `gateway` has answered; `io` has threads of its own, of which the caller is none.
Result<Embedded> embed_now(const boost::asio::any_io_executor& io, Gateway& gateway, EmbedOrder order,
                           const std::vector<std::string>& texts, const Context& context);

}  // namespace homeostat
