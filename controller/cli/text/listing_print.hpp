// How what `get` lists is printed: tables, objects, names, or what paths lead to. One thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "controller/cli/text/context.hpp"
#include "controller/cli/text/listing.hpp"

namespace homeostat {

struct GetForm {
    enum class Kind : std::uint8_t { table, wide, json, yaml, name, jsonpath, columns } kind = Kind::table;
    std::string text{};                                               // of jsonpath
    std::vector<std::pair<std::string, std::string>> columns{};  // header and path
    bool is_table() const noexcept { return kind == Kind::table || kind == Kind::wide; }
    bool wants_nodes() const noexcept { return !is_table() && kind != Kind::name; }
};
Result<GetForm> read_get_form(std::string_view word);

struct PrintWish {
    bool headers = true;
    bool single = false;       // one object was asked for by its name: no list around it
    bool say_nothing = true;  // that there is nothing, where there is nothing
};
Status print_listings(const CliStreams& streams, const std::vector<Listing>& listings, const GetForm& form,
                      const PrintWish& wish);

// By what the path leads to, numbers as numbers, or by the column of that header; what has no such field goes first.
Status sort_listing(Listing& listing, std::string_view path);

// A column with the labels.
void add_labels(Listing& listing);

}  // namespace homeostat
