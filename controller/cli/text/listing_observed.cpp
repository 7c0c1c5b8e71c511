// Events, runs, replicas, batches, revisions, leases and dead letters as `get` lists them.
#include <fmt/core.h>

#include <algorithm>

#include "controller/cli/text/listing.hpp"

namespace homeostat {

namespace {

// startedAt: STARTED; reconcileId: RECONCILE ID.
std::string header_of(const ListingColumn& column) {
    std::string out;
    for (const char c : column.name) {
        const bool upper = c >= 'A' && c <= 'Z';
        if (upper) out += ' ';
        out += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    }
    if (out == "AT") return "AGE";
    if (column.type == ListingType::time && out.ends_with(" AT")) out.resize(out.size() - 3);
    return out;
}

WallTime time_of(const std::string& micros) { return WallTime(std::chrono::microseconds(std::stoll(micros))); }

// Before or after now.
std::string distance_text(WallTime at, WallTime now) { return at > now ? "in " + age_text(now, at) : age_text(at, now); }

Cell cell_of(const ListingColumn& column, const std::optional<std::string>& value, WallTime now) {
    if (!value || value->empty()) return "-";
    if (column.type == ListingType::time) return distance_text(time_of(*value), now);
    if (column.name == "type") return {*value, *value == "Warning" ? Tint::warning : Tint::plain};
    return *value;
}

YamlNode node_of(ListingKind kind, std::span<const ListingColumn> columns, const ListingRow& row) {
    YamlNode node = YamlNode::map();
    node.add("apiVersion", YamlNode::text("homeostat.dev/v1"));
    node.add("kind", YamlNode::text(std::string(kind_title(kind))));
    node.child_map("metadata").add("name", YamlNode::text(row.front().value_or("")));
    for (std::size_t i = 1; i < columns.size(); ++i) {
        if (!row[i] || (columns[i].name == "object" && row[i]->empty())) continue;
        node.add(std::string(columns[i].name), columns[i].type == ListingType::number ? YamlNode::number(std::stoll(*row[i]))
                                               : columns[i].type == ListingType::time
                                                   ? YamlNode::text(time_text(time_of(*row[i])))
                                                   : YamlNode::text(*row[i]));
    }
    return node;
}

// A pipeline of which there is nothing yet is no error; a name that nothing has is one.
Status check_names(Session& session, ListingKind kind, const std::vector<ListingRow>& rows,
                   const std::vector<std::string>& names) {
    const Result<std::vector<PipelineSpec>> pipelines = list_pipelines(session);
    if (!pipelines) return pipelines.error();
    std::vector<std::string_view> known;
    for (const PipelineSpec& p : *pipelines) known.push_back(p.name);
    for (const std::string& name : names) {
        const auto meant = [&](const ListingRow& row) {
            const std::string object = row[1].value_or("");
            return row[0] == name || object.substr(object.find('/') + 1) == name;
        };
        if (std::any_of(rows.begin(), rows.end(), meant) || std::find(known.begin(), known.end(), name) != known.end()) continue;
        return not_found(
            fmt::format("there is no {} and no pipeline \"{}\"{}", kind_word(kind), name, did_you_mean(name, known)));
    }
    return {};
}

}  // namespace

Result<Listing> list_observed(Session& session, ListingKind kind, const ListingWish& wish) {
    const Result<std::vector<ListingRow>> rows = read_listing(session, kind, wish.names, wish.limit);
    if (!rows) return rows.error();
    if (!wish.names.empty()) {
        if (auto good = check_names(session, kind, *rows, wish.names); !good) return good.error();
    }
    const std::span<const ListingColumn> columns = listing_columns(kind);
    const auto shown = [&](const ListingColumn& c) { return wish.wide || !c.wide; };
    Listing out;
    std::size_t place = 0;
    for (const ListingColumn& c : columns) {
        if (!shown(c)) continue;
        out.headers.push_back(header_of(c));
        if (c.type == ListingType::time) out.ages.insert(place);
        ++place;
    }
    out.nothing =
        fmt::format("there are no {}", kind == ListingKind::batch ? "open batches" : std::string(kind_word(kind)) + "s");
    const WallTime now = SystemClock().now();
    for (const ListingRow& row : *rows) {
        Listed listed{
            .kind = std::string(kind_word(kind)), .name = row.front().value_or(""), .labels = {}, .cells = {}, .node = {}};
        for (std::size_t i = 0; i < columns.size(); ++i) {
            if (shown(columns[i])) listed.cells.push_back(cell_of(columns[i], row[i], now));
        }
        if (wish.nodes) listed.node = node_of(kind, columns, row);
        out.rows.push_back(std::move(listed));
    }
    return out;
}

}  // namespace homeostat
