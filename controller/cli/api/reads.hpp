// The handlers that only read: each a few statements over what the commands of the same names show.
#pragma once

#include "controller/cli/api/call.hpp"

namespace homeostat {

// api_fleet.cpp
Result<ApiJson> read_pipelines(ApiCall& call);
// api_pipeline.cpp
Result<ApiJson> read_one_pipeline(ApiCall& call);
Result<ApiJson> read_trend(ApiCall& call);
// api_lists.cpp
template <ListingKind kind>
Result<ApiJson> read_list(ApiCall& call);
Result<ApiJson> read_actions(ApiCall& call);
Result<ApiJson> read_one_run(ApiCall& call);
// api_factory.cpp
Result<ApiJson> read_providers(ApiCall& call);
Result<ApiJson> read_one_provider(ApiCall& call);
Result<ApiJson> read_capabilities(ApiCall& call);
Result<ApiJson> read_snapshots(ApiCall& call);
Result<ApiJson> read_differences(ApiCall& call);
Result<ApiJson> read_advice(ApiCall& call);
Result<ApiJson> read_strategies(ApiCall& call);
// api_health.cpp
Result<ApiJson> read_health(ApiCall& call);

extern template Result<ApiJson> read_list<ListingKind::event>(ApiCall&);
extern template Result<ApiJson> read_list<ListingKind::run>(ApiCall&);
extern template Result<ApiJson> read_list<ListingKind::replica>(ApiCall&);
extern template Result<ApiJson> read_list<ListingKind::batch>(ApiCall&);
extern template Result<ApiJson> read_list<ListingKind::revision>(ApiCall&);
extern template Result<ApiJson> read_list<ListingKind::lease>(ApiCall&);
extern template Result<ApiJson> read_list<ListingKind::dead_letter>(ApiCall&);
extern template Result<ApiJson> read_list<ListingKind::checkpoint>(ApiCall&);

}  // namespace homeostat
