#include "controller/cli/cli.hpp"

int main(int argc, char** argv) { return homeostat::run_cli(argc, argv); }
