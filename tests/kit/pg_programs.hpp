// PostgreSQL's own programs, run as the user who may: what Cluster and Standby are made with. Private to the kit. Failures throw
// std::runtime_error with what the program said.
#pragma once

#include <string>
#include <string_view>

namespace homeostat::kit {

// `word` for a shell, whatever is in it.
std::string shell_word(std::string_view word);
// The command that runs a program of PostgreSQL's; as root, by way of the user postgres.
std::string as_postgres(const std::string& program);
// Gives a folder to who runs PostgreSQL.
void give_to_postgres(const std::string& folder);
// Runs a command to its end; both streams go to the end of `log`.
void run_command(const std::string& command, const std::string& log);

}  // namespace homeostat::kit
