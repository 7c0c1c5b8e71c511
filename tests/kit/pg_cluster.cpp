// pg_cluster start FILE | stop FILE: the ctest fixture around every test that needs PostgreSQL. FILE takes the cluster's folder.
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <fstream>
#include <string>
#include <string_view>

#include "tests/kit/cluster.hpp"

namespace {

void start(const std::string& file) {
    // The owner is ctest, our parent: when it ends, even by a signal, the cluster does too.
    homeostat::kit::Cluster cluster({}, getppid());
    std::ofstream(file) << cluster.folder() << '\n';
    cluster.release();
}

void stop(const std::string& file) {
    std::ifstream in(file);
    std::string folder;
    if (std::getline(in, folder)) homeostat::kit::Cluster::adopt(folder);  // destroyed, and so stopped, at once
    std::remove(file.c_str());
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fputs("usage: pg_cluster start|stop FILE\n", stderr);
        return 2;
    }
    try {
        std::string_view(argv[1]) == "start" ? start(argv[2]) : stop(argv[2]);
        return 0;
    } catch (const std::exception& e) {
        std::fprintf(stderr, "pg_cluster: %s\n", e.what());
        return 1;
    }
}
