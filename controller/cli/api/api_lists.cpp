// What the controller does and did, a page at a time, newest first.
#include <nlohmann/json.hpp>

#include "controller/cli/api/actions.hpp"
#include "controller/cli/api/reads.hpp"
#include "store/control/resources.hpp"
#include "store/control/target_views.hpp"

namespace homeostat {

namespace {

// A slip must not look like "nothing there".
Status known_object(ApiCall& call, ListingKind kind, const std::string& name) {
    const Result<PipelineSpec> pipeline = find_pipeline(call.session(), name);
    if (pipeline) return {};
    if (kind == ListingKind::event && find_target_view(call.session(), name)) return {};
    return pipeline.error();
}

Result<ApiJson> page_of(ApiCall& call, ListingKind kind, std::string reason) {
    ListingWanted wanted;
    wanted.reason = std::move(reason);
    const Result<int> limit = call.limit();
    if (!limit) return limit.error();
    wanted.limit = *limit;
    if (const std::string name(call.asked("pipeline")); !name.empty()) {
        if (const Status known = known_object(call, kind, name); !known) return known.error();
        wanted.names = {name};
    }
    if (const std::string_view cursor = call.asked("cursor"); !cursor.empty()) {
        Result<ListingPlace> place = place_of(cursor);
        if (!place) return place.error();
        wanted.after = *std::move(place);
    }
    const Result<ListingPage> page = read_listing_page(call.session(), kind, wanted);
    if (!page) return page.error();
    ApiJson items = ApiJson::array();
    for (const ListingRow& row : page->rows) items.push_back(row_json(kind, row));
    ApiJson out{{"items", std::move(items)}};
    if (page->next) out["next"] = cursor_of(*page->next);
    return out;
}

}  // namespace

template <ListingKind kind>
Result<ApiJson> read_list(ApiCall& call) {
    return page_of(call, kind, std::string(call.asked("reason")));
}

template Result<ApiJson> read_list<ListingKind::event>(ApiCall&);
template Result<ApiJson> read_list<ListingKind::run>(ApiCall&);
template Result<ApiJson> read_list<ListingKind::replica>(ApiCall&);
template Result<ApiJson> read_list<ListingKind::batch>(ApiCall&);
template Result<ApiJson> read_list<ListingKind::revision>(ApiCall&);
template Result<ApiJson> read_list<ListingKind::lease>(ApiCall&);
template Result<ApiJson> read_list<ListingKind::dead_letter>(ApiCall&);
template Result<ApiJson> read_list<ListingKind::checkpoint>(ApiCall&);

Result<ApiJson> read_actions(ApiCall& call) { return page_of(call, ListingKind::event, std::string(kActionReason)); }

Result<ApiJson> read_one_run(ApiCall& call) {
    const std::string id = call.name();
    if (id.size() > 18 || id.find_first_not_of("0123456789") != std::string::npos)
        return invalid("\"" + id + "\" is not the number of a run; /api/v1/runs lists them");
    const auto rows = read_listing(call.session(), ListingKind::run, {id}, 1000);
    if (!rows) return rows.error();
    for (const ListingRow& row : *rows) {
        if (row.front() == id) return row_json(ListingKind::run, row);  // a pipeline may be called so as well
    }
    return not_found("run " + id + " does not exist, or is no longer kept; /api/v1/runs lists those that are");
}

}  // namespace homeostat
