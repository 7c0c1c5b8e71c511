// A server that counts its statements, for all tests of a binary that ask it how many there were.
#pragma once

#include "tests/kit/cluster.hpp"

namespace homeostat {

inline kit::Cluster& counting_cluster() {
    static kit::Cluster cluster({"shared_preload_libraries=pg_stat_statements", "pg_stat_statements.track=top"});
    return cluster;
}

}  // namespace homeostat
