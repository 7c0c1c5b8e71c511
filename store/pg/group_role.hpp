// What is made in the user's database belongs to the group role of controllers, so that logins may come and go: whoever is a
// member may change it, and what was made by one that left goes on.
#pragma once

#include <string>
#include <vector>

namespace homeostat {

// DDL (one statement) that does `body`, PL/pgSQL, where the group role is there, may own things in homeostat_data, and whoever
// runs it has its rights; else it does nothing. In `body` the group is homeostat_controller.
std::string where_group_may_own(const std::string& body);
std::string give_tables(const std::vector<std::string>& tables);
// A view reads as its owner: the group, or whoever made it where the group may own nothing in its schema; then he is granted
// what it reads. `tables`: a list as SQL reads it.
std::string give_view(const std::string& view, const std::string& tables);

// `function`: a signature; `schema`: where it is. Both as SQL reads them.
std::string give_function(const std::string& function, const std::string& schema);

}  // namespace homeostat
