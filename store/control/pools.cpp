#include <algorithm>

#include "store/control/resources.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

namespace {

// Whoever may act on all is the owner of the table, too.
const Statement kPeers{
    "pool_peers",
    "SELECT peer.uid FROM homeostat.provider peer WHERE peer.pool = $1 AND peer.uid <> $2 AND EXISTS ("
    " SELECT FROM homeostat.provider first JOIN pg_catalog.pg_roles theirs ON theirs.rolname = peer.declared_by"
    " JOIN pg_catalog.pg_roles ours ON ours.rolname IN (first.declared_by, 'homeostat_admin')"
    "  OR ours.oid = (SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = 'homeostat.provider'::regclass)"
    " WHERE first.uid = $2 AND pg_has_role(theirs.oid, ours.oid, 'MEMBER'))"};

}  // namespace

Result<std::vector<ProviderSpec>> list_peers(Session& session, const ProviderSpec& provider) {
    if (!provider.pool) return std::vector<ProviderSpec>{};
    Result<std::vector<std::int64_t>> peers = guarded([&] {
        const Rows rows = session.exec(kPeers, Params::of(*provider.pool, provider.uid));
        std::vector<std::int64_t> uids;
        for (int i = 0; i < rows.size(); ++i) uids.push_back(rows.i64(i, 0));
        return uids;
    });
    if (!peers) return peers.error();
    Result<std::vector<ProviderSpec>> all = peers->empty() ? std::vector<ProviderSpec>{} : list_providers(session);
    if (!all) return all;
    std::erase_if(*all, [&](const ProviderSpec& p) { return std::find(peers->begin(), peers->end(), p.uid) == peers->end(); });
    return all;
}

}  // namespace homeostat
