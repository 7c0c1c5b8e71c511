#include "store/capture_functions.hpp"

#include <fmt/format.h>

namespace homeostat {

namespace {

template <class F>
std::string joined(const std::vector<CapturedColumn>& columns, std::string_view between, F&& each) {
    std::string out;
    for (std::size_t i = 0; i < columns.size(); ++i) out += (i == 0 ? "" : std::string(between)) + each(columns[i], i + 1);
    return out;
}

struct ByExactness {
    std::vector<CapturedColumn> exact;
    std::vector<CapturedColumn> others;
};

ByExactness by_exactness(const std::vector<CapturedColumn>& columns) {
    ByExactness out;
    for (const CapturedColumn& c : columns) (c.compare ? out.exact : out.others).push_back(c);
    return out;
}

constexpr int kLooksForRoom = 64;  // changes from one look to the next

std::string regclass(const std::string& name) { return fmt::format("'{}'::pg_catalog.regclass", name); }

}  // namespace

std::string change_table(std::int64_t uid) { return fmt::format("homeostat_data.p{}_change", uid); }
std::string named_sequence(std::int64_t uid) { return fmt::format("homeostat_data.p{}_named", uid); }
std::string room_sequence(std::int64_t uid) { return fmt::format("homeostat_data.p{}_room", uid); }
std::string full_sequence(std::int64_t uid) { return fmt::format("homeostat_data.p{}_full", uid); }

CaptureFunctions::CaptureFunctions(std::int64_t uid, std::string stem, std::vector<CapturedColumn> key,
                                   std::vector<CapturedColumn> watched, bool whole_row)
    : uid_(uid), stem_(std::move(stem)), key_(std::move(key)), watched_(std::move(watched)), whole_row_(whole_row) {}

// A search path of its own would cost a writer a third of what the function does; nothing in it depends on one: every name
// and every operator says its schema, and transition tables come before all else.
std::string CaptureFunctions::text(std::string_view event) const {
    const std::string does = body(event);
    std::string tag = "$homeostat$";  // anything that no identifier in it holds
    while (does.find(tag) != std::string::npos) tag.insert(1, "_");
    return fmt::format(
        "CREATE OR REPLACE FUNCTION homeostat_data.{}_{}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS {}\n"
        "#variable_conflict use_variable\nDECLARE\n    homeostat_asleep boolean;\n    homeostat_room bigint;\n"
        "    homeostat_named bigint;\nBEGIN\n    {}\n"
        "    IF homeostat_asleep THEN\n        {}\n        PERFORM pg_catalog.pg_notify('homeostat', 'f{}');\n    END IF;\n"
        "    RETURN NULL;\nEND {}",
        stem_, event, tag, does, call(), uid_, tag);
}

// One number, which all writers share: where they read more they wait for each other.
std::string CaptureFunctions::gate() const {
    return fmt::format("IF pg_catalog.pg_sequence_last_value({}) OPERATOR(pg_catalog.=) {} THEN RETURN NULL; END IF;\n    ",
                       regclass(full_sequence(uid_)), kFull);
}

std::string CaptureFunctions::body(std::string_view event) const {
    const std::string table = change_table(uid_);
    if (event == "truncate") return fmt::format("INSERT INTO {} (change) VALUES ('t'); {}", table, then_look());
    if (key_.empty()) {
        return fmt::format(
            "INSERT INTO {0} (change) SELECT 'x' WHERE NOT EXISTS (SELECT FROM {0} c WHERE c.change OPERATOR(pg_catalog.=) "
            "'x'); {1}",
            table, then_look());
    }
    if (event == kRowUpdate) return gate() + row_update();
    if (event == "update") return gate() + naming(updates());
    if (event == "insert") return gate() + naming(fmt::format("{} SELECT 'i', {} FROM new_rows n", into(), list("n")));
    return gate() + naming(fmt::format("{} SELECT 'd', {} FROM old_rows o", into(), list("o")));
}

// No more than there is room for: of a statement of more rows the rest is a sweep's to find, which the mark asks for, and costs
// its writer no more. Whoever counts at the same moment may be left out of the count: it is a bound, and no more.
std::string CaptureFunctions::naming(const std::string& insert) const {
    return fmt::format(
        "homeostat_room := GREATEST(pg_catalog.pg_sequence_last_value({1}) OPERATOR(pg_catalog.-)"
        " pg_catalog.pg_sequence_last_value({0}), 1);\n"
        "    {2} LIMIT homeostat_room;\n    GET DIAGNOSTICS homeostat_named = ROW_COUNT;\n"
        "    IF homeostat_named OPERATOR(pg_catalog.>) 0 THEN\n"
        "        IF homeostat_named OPERATOR(pg_catalog.=) homeostat_room THEN\n"
        "            INSERT INTO {3} (change) VALUES ('x');\n"
        "            homeostat_room := pg_catalog.setval({4}, {5});\n        END IF;\n"
        "        homeostat_named := pg_catalog.setval({0}, pg_catalog.nextval({0}) OPERATOR(pg_catalog.+) homeostat_named"
        " OPERATOR(pg_catalog.-) 1);\n        homeostat_asleep := {6};\n    END IF;",
        regclass(named_sequence(uid_)), regclass(room_sequence(uid_)), insert, change_table(uid_), regclass(full_sequence(uid_)),
        kFull, asleep());
}

// A row whose key changed is one that went and one that came.
std::string CaptureFunctions::updates() const {
    const std::string& key = key_[0].quoted;
    return fmt::format(
        "{0} SELECT CASE WHEN o.{1} IS NULL THEN 'i' WHEN n.{1} IS NULL THEN 'd' ELSE 'u' END, {2}\n"
        "    FROM new_rows n FULL JOIN old_rows o ON {3} WHERE n.{1} IS NULL OR o.{1} IS NULL OR {4}",
        into(), key,
        joined(key_, ", ", [](const CapturedColumn& c, std::size_t) { return fmt::format("coalesce(n.{0}, o.{0})", c.quoted); }),
        same("n", "o"), differs("n", "o"));
}

// Looks whether that was the last for which there was room now and then only, as a few more do no harm.
std::string CaptureFunctions::row_update() const {
    return fmt::format(
        "IF {0} THEN\n        IF NOT ({1}) THEN RETURN NULL; END IF;\n"
        "        {2} VALUES ('u', {3}) RETURNING {4} INTO homeostat_asleep;\n"
        "    ELSE\n        {2} VALUES ('d', {5}), ('i', {3});\n        homeostat_asleep := {4};\n    END IF;\n"
        "    homeostat_named := pg_catalog.nextval({6});\n"
        "    IF homeostat_named OPERATOR(pg_catalog.%) {7} OPERATOR(pg_catalog.=) 0 THEN\n"
        "        IF homeostat_named OPERATOR(pg_catalog.>=) pg_catalog.pg_sequence_last_value({8}) THEN\n"
        "            homeostat_named := pg_catalog.setval({9}, {10});\n        END IF;\n    END IF;",
        same("NEW", "OLD"), differs("NEW", "OLD"), into(), list("NEW"), asleep(), list("OLD"), regclass(named_sequence(uid_)),
        kLooksForRoom, regclass(room_sequence(uid_)), regclass(full_sequence(uid_)), kFull);
}

std::string CaptureFunctions::asleep() const {
    return fmt::format("(SELECT b.asleep FROM homeostat.feed_bell b WHERE b.uid OPERATOR(pg_catalog.=) {})", uid_);
}

// Who calls says so, and nobody after it calls again. Nobody waits for anybody: while one has not committed, others call too.
// Above READ COMMITTED a row that changed since the snapshot would be the writer's error, so there it is left alone.
std::string CaptureFunctions::call() const {
    return fmt::format(
        "IF pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.=) 'read committed' THEN\n"
        "            UPDATE homeostat.feed_bell SET asleep = false WHERE uid OPERATOR(pg_catalog.=) (SELECT b.uid FROM"
        " homeostat.feed_bell b\n                WHERE b.uid OPERATOR(pg_catalog.=) {} AND b.asleep FOR UPDATE SKIP "
        "LOCKED);\n"
        "        END IF;",
        uid_);
}

std::string CaptureFunctions::then_look() const { return fmt::format("IF FOUND THEN homeostat_asleep := {}; END IF;", asleep()); }

std::string CaptureFunctions::into() const {
    return fmt::format("INSERT INTO {} (change, {})", change_table(uid_),
                       joined(key_, ", ", [](const CapturedColumn&, std::size_t i) { return fmt::format("key_{}", i); }));
}

std::string CaptureFunctions::list(std::string_view alias) const {
    return joined(key_, ", ", [&](const CapturedColumn& c, std::size_t) { return fmt::format("{}.{}", alias, c.quoted); });
}

// A record's image is its bytes: comparing it calls nothing of the user's and depends on no setting of the writer's. The cast
// keeps ROW = ROW from being taken apart into comparisons of its columns; the operator, unlike the function, may join.
std::string CaptureFunctions::image(const std::vector<CapturedColumn>& columns, std::string_view alias) const {
    return fmt::format("ROW({})::pg_catalog.record", joined(columns, ", ", [&](const CapturedColumn& c, std::size_t) {
                           return fmt::format("{}.{}", alias, c.quoted);
                       }));
}

std::string CaptureFunctions::same(std::string_view now, std::string_view before) const {
    const auto [exact, others] = by_exactness(key_);
    std::string out = joined(exact, " AND ", [&](const CapturedColumn& c, std::size_t) {
        return fmt::format("{0}.{2}{3} OPERATOR(pg_catalog.=) {1}.{2}{3}", now, before, c.quoted, *c.compare);
    });
    if (others.empty()) return out;
    return fmt::format("{}{}{} OPERATOR(pg_catalog.*=) {}", out, out.empty() ? "" : " AND ", image(others, now),
                       image(others, before));
}

// IS DISTINCT FROM would look for its operator along the writer's search path.
std::string CaptureFunctions::differs(std::string_view now, std::string_view before) const {
    if (whole_row_) return fmt::format("pg_catalog.record_image_ne(ROW({}.*), ROW({}.*))", now, before);
    if (watched_.empty()) return "false";
    const auto [exact, others] = by_exactness(watched_);
    std::string out = joined(exact, " OR ", [&](const CapturedColumn& c, std::size_t) {
        return fmt::format(
            "({0}.{2}{3} OPERATOR(pg_catalog.=) {1}.{2}{3}) IS NOT TRUE AND ({0}.{2} IS NOT NULL OR {1}.{2} IS NOT "
            "NULL)",
            now, before, c.quoted, *c.compare);
    });
    if (others.empty()) return out;
    return fmt::format("{}{}pg_catalog.record_image_ne({}, {})", out, out.empty() ? "" : " OR ", image(others, now),
                       image(others, before));
}

}  // namespace homeostat
