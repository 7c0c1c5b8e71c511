// PgBouncer before a cluster, in transaction mode: few sessions of the server, given to whoever begins a transaction.
//
// Found in .deps (scripts/bootstrap puts it there) or where HOMEOSTAT_PGBOUNCER says. It listens on a unix socket only and ends
// with its object. Objects belong to one thread at a time; failures throw std::runtime_error.
#pragma once

#include <memory>
#include <string>

#include "tests/kit/cluster.hpp"
#include "tests/kit/process.hpp"

namespace homeostat::kit {

class Pooler {
public:
    Pooler(Cluster& cluster, int sessions);
    ~Pooler();
    Pooler(const Pooler&) = delete;
    Pooler& operator=(const Pooler&) = delete;

    static bool available();

    // As superuser `postgres`.
    std::string url(const std::string& database) const;
    std::string output() const { return process_->output(); }

private:
    std::string folder_;
    std::unique_ptr<Process> process_;
};

}  // namespace homeostat::kit
