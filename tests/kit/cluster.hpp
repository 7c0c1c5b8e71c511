// PostgreSQL for tests: a private cluster with pgvector, and a database of its own for every test.
//
// A cluster lives in a temp folder, listens on a unix socket only (no port to collide on) and runs with fsync off. Under ctest
// one cluster serves the whole run (HOMEOSTAT_TEST_CLUSTER names the file that holds its socket folder); a test binary started by
// hand gets its own. A cluster goes away with the process that started it, also when that process is killed.
//
// Failures throw std::runtime_error, which GoogleTest reports as a failure of the test. Objects belong to one thread at a time.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace homeostat::kit {

using Row = std::vector<std::optional<std::string>>;  // NULL is an absent value

// One connection by libpqxx alone: the tests' own eyes and hands, independent of the store that they check.
class Sql {
public:
    explicit Sql(const std::string& url);
    ~Sql();
    Sql(Sql&&) noexcept;
    Sql& operator=(Sql&&) noexcept;

    // Any number of statements; the rows are those of the last one.
    std::vector<Row> query(const std::string& sql);
    // One statement with values for $1, $2, …
    std::vector<Row> query(const std::string& sql, const std::vector<std::string>& values);
    void exec(const std::string& sql) { query(sql); }
    // The only value of the only row; "" where it is NULL. Throws where there is not exactly one.
    std::string value(const std::string& sql);

private:
    struct Connection;
    std::unique_ptr<Connection> connection_;
};

class Cluster {
public:
    // Starts a cluster of the caller's own, for tests that stop or break it. `settings` are further "name=value" of
    // postgresql.conf. It does not outlive the process `owner`, which by default is this one.
    explicit Cluster(const std::vector<std::string>& settings = {}, std::optional<int> owner = std::nullopt);
    // Stops it at once and removes its folder.
    ~Cluster();
    Cluster(const Cluster&) = delete;
    Cluster& operator=(const Cluster&) = delete;

    // Takes over a running cluster of kit's, and with it the duty to stop it.
    static std::unique_ptr<Cluster> adopt(std::string folder);
    // The cluster that tests share: that of the ctest run, or one of this process.
    static Cluster& shared();

    // As superuser `postgres`, or as `user`.
    std::string url(std::string_view database = "postgres", std::string_view user = "postgres") const;
    const std::string& folder() const noexcept { return folder_; }  // holds the socket, the data and the log

    void stop(std::string_view mode = "fast");  // smart, fast, immediate
    void start();
    // The options it is started with, for a shell.
    const std::string& settings() const noexcept { return settings_; }
    // Lets it run on until its owner ends.
    void release() noexcept { owned_ = false; }

private:
    struct Running {};
    Cluster(Running, std::string folder) : folder_(std::move(folder)) {}

    std::string folder_;
    std::string settings_;
    bool owned_ = false;
};

enum class Schema { empty, migrated };

// A database made from a template (milliseconds), dropped with everybody connected to it.
class Database {
public:
    // empty: nothing but the extension `vector`. migrated: every migration of the binary applied as well.
    explicit Database(Schema schema = Schema::migrated, Cluster& cluster = Cluster::shared());
    ~Database();
    Database(const Database&) = delete;
    Database& operator=(const Database&) = delete;

    const std::string& name() const noexcept { return name_; }
    std::string url(std::string_view user = "postgres") const { return cluster_.url(name_, user); }
    Cluster& cluster() noexcept { return cluster_; }
    const Cluster& cluster() const noexcept { return cluster_; }

    // On a connection that is opened on first use and kept, until `reconnect`.
    Sql& sql();
    void reconnect() { sql_.reset(); }
    std::vector<Row> query(const std::string& text) { return sql().query(text); }
    void exec(const std::string& text) { sql().exec(text); }
    std::string value(const std::string& text) { return sql().value(text); }

private:
    Cluster& cluster_;
    std::string name_;
    std::optional<Sql> sql_;
};

// What pg_dump writes of `from` (with these options, as a shell reads them), restored into `into` by psql as a superuser does it,
// going on after errors; returns those.
std::vector<std::string> restore(const Database& from, Database& into, const std::string& options = "");

}  // namespace homeostat::kit
