#include "tests/kit/template.hpp"

#include <stdexcept>

#include "store/control/migrator.hpp"

namespace homeostat::kit {

namespace {

constexpr const char* kEmpty = "template_empty";
constexpr const char* kMigrated = "template_migrated";

bool exists(Sql& admin, const std::string& database) {
    return admin.value("SELECT count(*) FROM pg_database WHERE datname = '" + database + "'") == "1";
}

// Built under another name and renamed when it is whole, so that a process killed half-way leaves nothing that looks finished.
template <class Fill>
void make_once(Sql& admin, Cluster& cluster, const std::string& name, const std::string& from, Fill fill) {
    if (exists(admin, name)) return;
    const std::string unfinished = name + "_unfinished";
    admin.exec("DROP DATABASE IF EXISTS " + unfinished + " WITH (FORCE)");
    admin.exec("CREATE DATABASE " + unfinished + " TEMPLATE " + from);
    fill(cluster.url(unfinished));
    admin.exec("ALTER DATABASE " + unfinished + " RENAME TO " + name);
}

void migrate(const std::string& url) {
    ConnectOptions options;
    options.url = url;
    auto session = Session::connect(options);
    if (!session) throw std::runtime_error(session.error().message);
    const auto applied = migrate_up(**session);
    if (!applied) throw std::runtime_error(applied.error().message);
}

}  // namespace

std::string ensure_template(Schema schema, Cluster& cluster) {
    const std::string wanted = schema == Schema::empty ? kEmpty : kMigrated;
    Sql admin(cluster.url());
    if (exists(admin, wanted)) return wanted;
    admin.exec("SELECT pg_advisory_lock(7301)");  // let go when `admin` disconnects
    make_once(admin, cluster, kEmpty, "template0", [](const std::string& url) { Sql(url).exec("CREATE EXTENSION vector"); });
    if (schema == Schema::migrated) make_once(admin, cluster, kMigrated, kEmpty, migrate);
    return wanted;
}

}  // namespace homeostat::kit
