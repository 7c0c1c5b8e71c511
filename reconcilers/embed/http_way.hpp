// The way to a provider's endpoint, as its row names it and the operator's settings let it be: through which proxy, with which
// certificates, and to which addresses. Pure but for the files and variables that are read.
#pragma once

#include <memory>

#include "core/error.hpp"
#include "core/resource.hpp"
#include "reconcilers/embed/http_client.hpp"
#include "reconcilers/embed/outbound.hpp"

namespace homeostat {

// Refuses an address or a proxy that is not to be asked, a file or a reference that is not bound to the address, and a proxy that
// would read secrets (`with_secrets`: requests carry some). The sentence says what to write in the settings.
Result<HttpClientOptions> way_to(const ProviderSpec& provider, const Url& url, bool with_secrets,
                                 std::shared_ptr<const Outbound> outbound);

}  // namespace homeostat
