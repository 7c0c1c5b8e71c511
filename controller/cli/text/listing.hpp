// What `get` lists: one object a row, as cells for people and as a tree for programs, of every kind that there is. One thread.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "controller/cli/manifest/kinds.hpp"
#include "controller/cli/text/output.hpp"
#include "controller/config/config_yaml.hpp"

namespace homeostat {

struct Listed {
    std::string kind;  // as in KIND/NAME
    std::string name;
    StringMap labels;
    std::vector<Cell> cells;
    YamlNode node;  // where it was wished
};

struct Listing {
    std::vector<std::string> headers;
    std::set<std::size_t> ages;  // columns that change by the mere passing of time
    std::vector<Listed> rows;
    std::string nothing;  // what is said where there are none
};

struct ListingWish {
    std::vector<std::string> names;  // only these; an unknown one is an error with the nearest one
    bool wide = false;
    bool cells = true;
    bool nodes = false;
    int limit = 500;  // of what the controller writes
};

Result<Listing> list_objects(Session& session, const AnyKind& kind, const ListingWish& wish);
// Of one kind; what they are made of.
Result<Listing> list_declared(Session& session, ResourceKind kind, const ListingWish& wish);
Result<Listing> list_observed(Session& session, ListingKind kind, const ListingWish& wish);

// A label selector: a=b, a==b, a!=b, a in (b, c), a notin (b, c), a, !a, with commas between, all of which must hold.
Result<std::vector<Listed>> select_labels(std::vector<Listed> rows, std::string_view selector);

}  // namespace homeostat
