// A standby of a cluster that follows it asynchronously and can take its place, without what had not reached it.
//
// After take_over() the cluster is the former standby, under the same socket: as behind an address that moves. Objects belong to
// one thread at a time; failures throw std::runtime_error.
#pragma once

#include <string>
#include <string_view>

#include "tests/kit/cluster.hpp"

namespace homeostat::kit {

class Standby {
public:
    // Copies the cluster as it runs and follows it from then on. The cluster must have no tablespace of its own.
    explicit Standby(Cluster& cluster);
    ~Standby();
    Standby(const Standby&) = delete;
    Standby& operator=(const Standby&) = delete;

    // As superuser `postgres`, or as `user`.
    std::string url(std::string_view database = "postgres", std::string_view user = "postgres") const;
    // It is there no more; or it is a primary of its own, beside the cluster.
    void stop();
    void promote();
    // Nothing reaches it any more: what is committed from now on will be lost.
    void fall_behind();
    // The cluster dies at once, and this is it from now on. Once only.
    void take_over();

private:
    void control(const std::string& what);

    Cluster& cluster_;
    std::string data_;
    std::string sockets_;
    bool over_ = false;
};

}  // namespace homeostat::kit
