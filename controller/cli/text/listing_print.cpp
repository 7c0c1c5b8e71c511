#include "controller/cli/text/listing_print.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "controller/cli/text/field_path.hpp"

namespace homeostat {

namespace {

using Kind = GetForm::Kind;

constexpr std::array<std::string_view, 7> kForms{"table", "wide", "json", "yaml", "name", "jsonpath", "custom-columns"};

Result<GetForm> read_columns(std::string_view text) {
    GetForm form{.kind = Kind::columns, .columns = {}};
    while (!text.empty()) {
        const std::size_t end = std::min(text.size(), text.find(','));
        const std::string_view column = text.substr(0, end);
        const std::size_t colon = column.find(':');
        if (colon == 0 || colon == std::string_view::npos || colon + 1 == column.size())
            return invalid(fmt::format("-o custom-columns: \"{}\" is not HEADER:PATH, as in NAME:.metadata.name", column));
        form.columns.emplace_back(column.substr(0, colon), column.substr(colon + 1));
        text.remove_prefix(std::min(text.size(), end + 1));
    }
    if (form.columns.empty()) return invalid("-o custom-columns needs columns, as in custom-columns=NAME:.metadata.name");
    return form;
}

YamlNode list_of(const std::vector<Listing>& listings) {
    YamlNode list = YamlNode::map();
    list.add("apiVersion", YamlNode::text("homeostat.dev/v1"));
    list.add("kind", YamlNode::text("List"));
    YamlNode items = YamlNode::list();
    for (const Listing& listing : listings) {
        for (const Listed& row : listing.rows) items.items.push_back(row.node);
    }
    list.add("items", std::move(items));
    return list;
}

// Where several kinds are shown, names say of which they are, as in kubectl's `get all`.
void print_tables(const CliStreams& streams, const std::vector<Listing>& listings, const PrintWish& wish) {
    bool any = false;
    for (const Listing& listing : listings) {
        if (listing.rows.empty()) continue;
        if (any && wish.headers) streams.out << '\n';
        any = true;
        TextTable table(wish.headers ? listing.headers : std::vector<std::string>());
        for (const Listed& row : listing.rows) {
            std::vector<Cell> cells = row.cells;
            if (listings.size() > 1 && listing.headers.front() == "NAME") cells.front().text = row.kind + '/' + row.name;
            table.add(std::move(cells));
        }
        table.print(streams.out, streams.colour);
    }
    if (any || !wish.say_nothing) return;
    for (const Listing& listing : listings) streams.err << "homeostat: " << listing.nothing << '\n';
}

Status print_columns(const CliStreams& streams, const std::vector<Listing>& listings, const GetForm& form,
                     const PrintWish& wish) {
    std::vector<std::string> headers;
    for (const auto& [header, path] : form.columns) headers.push_back(header);
    TextTable table(wish.headers ? headers : std::vector<std::string>());
    for (const Listing& listing : listings) {
        for (const Listed& row : listing.rows) {
            std::vector<Cell> cells;
            for (const auto& [header, path] : form.columns) {
                const auto found = follow_path(row.node, path);
                if (!found) return found.error().with_prefix("-o custom-columns");
                std::string text;
                for (const YamlNode* node : *found) text += (text.empty() ? "" : ",") + value_text(*node);
                cells.emplace_back(found->empty() ? std::string("<none>") : std::move(text));
            }
            table.add(std::move(cells));
        }
    }
    table.print(streams.out, false);
    return {};
}

std::optional<double> number_of(const std::string& text) {
    double value = 0;
    const auto [at, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (problem != std::errc() || at != text.data() + text.size() || std::isnan(value)) return std::nullopt;
    return value;
}

struct Keyed {
    std::optional<std::string> value;
    std::size_t place;  // as it was listed
    Listed row;
};

// Without a value first, then numbers, then texts; what is equal stays in its order.
bool goes_before(const Keyed& a, const Keyed& b) {
    if (a.value.has_value() != b.value.has_value()) return b.value.has_value();
    if (a.value != b.value) {
        const auto x = number_of(*a.value);
        const auto y = number_of(*b.value);
        if (x.has_value() != y.has_value()) return x.has_value();
        if (!x) return *a.value < *b.value;
        if (*x != *y) return *x < *y;
    }
    return a.place < b.place;
}

std::string lowered(std::string_view text) {
    std::string out(text);
    for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    return out;
}

}  // namespace

Result<GetForm> read_get_form(std::string_view word) {
    const std::size_t equals = word.find('=');
    const std::string_view name = word.substr(0, equals);
    const std::string_view value = equals == std::string_view::npos ? std::string_view() : word.substr(equals + 1);
    const auto found = std::find(kForms.begin(), kForms.end(), name);
    if (found == kForms.end()) {
        return invalid(
            fmt::format("-o {} is not known; it is table, wide, json, yaml, name, jsonpath=TEMPLATE or "
                        "custom-columns=HEADER:PATH,...{}",
                        word, did_you_mean(name, kForms)));
    }
    const auto kind = static_cast<Kind>(found - kForms.begin());
    if (kind == Kind::columns) return read_columns(value);
    if (kind == Kind::jsonpath && value.empty())
        return invalid("-o jsonpath needs a template, as in jsonpath='{.metadata.name}'");
    if (kind != Kind::jsonpath && equals != std::string_view::npos) return invalid(fmt::format("-o {} takes no value", name));
    return GetForm{.kind = kind, .text = std::string(value)};
}

Status print_listings(const CliStreams& streams, const std::vector<Listing>& listings, const GetForm& form,
                      const PrintWish& wish) {
    std::vector<const Listed*> rows;
    for (const Listing& listing : listings) {
        for (const Listed& row : listing.rows) rows.push_back(&row);
    }
    const bool one = wish.single && rows.size() == 1;
    switch (form.kind) {
        case Kind::table:
        case Kind::wide: print_tables(streams, listings, wish); break;
        case Kind::columns: return print_columns(streams, listings, form, wish);
        case Kind::name:
            for (const Listed* row : rows) streams.out << row->kind << '/' << printable(row->name) << '\n';
            break;
        case Kind::yaml:
            for (std::size_t i = 0; i < rows.size(); ++i) streams.out << (i == 0 ? "" : "---\n") << write_yaml(rows[i]->node);
            break;
        case Kind::json: streams.out << write_json(one ? rows.front()->node : list_of(listings)) << '\n'; break;
        case Kind::jsonpath: {
            const auto text = expand_template(one ? rows.front()->node : list_of(listings), form.text);
            if (!text) return text.error().with_prefix("-o jsonpath");
            streams.out << *text;
            break;
        }
    }
    return {};
}

Status sort_listing(Listing& listing, std::string_view path) {
    const auto column = std::find_if(listing.headers.begin(), listing.headers.end(),
                                     [&](const std::string& header) { return lowered(header) == lowered(path); });
    std::vector<Keyed> rows;
    bool any = listing.rows.empty();
    for (Listed& row : listing.rows) {
        const auto found = follow_path(row.node, path);
        if (!found) return found.error().with_prefix("--sort-by");
        std::optional<std::string> value;
        if (!found->empty()) {
            value = value_text(*found->front());
        } else if (const auto at = static_cast<std::size_t>(column - listing.headers.begin()); at < row.cells.size()) {
            value = row.cells[at].text;
        }
        any = any || value;
        rows.push_back({std::move(value), rows.size(), std::move(row)});
    }
    if (!any)
        return invalid(
            fmt::format("--sort-by {}: nothing listed has such a field; homeostat get -o json shows which there are", path));
    std::sort(rows.begin(), rows.end(), goes_before);
    listing.rows.clear();
    for (Keyed& keyed : rows) listing.rows.push_back(std::move(keyed.row));
    return {};
}

void add_labels(Listing& listing) {
    listing.headers.emplace_back("LABELS");
    for (Listed& row : listing.rows) {
        std::string text;
        for (const auto& [label, value] : row.labels) text += fmt::format("{}{}={}", text.empty() ? "" : ",", label, value);
        row.cells.emplace_back(text.empty() ? std::string("<none>") : std::move(text));
    }
}

}  // namespace homeostat
