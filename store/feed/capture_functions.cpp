#include "store/feed/capture_functions.hpp"

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

constexpr int kCountedAtOnce = 64;
constexpr int kFirstsCounted = 16;  // a power of two; transactions that name something have every second number

// Whether one of them has another type now. What it is converted or compared by then may be its owner's, and runs as us: so this
// is asked first, and only asks for types.
std::string of_other_types(const std::vector<CapturedColumn>& columns, std::string_view alias) {
    return joined(columns, " OR ", [&](const CapturedColumn& c, std::size_t) {
        return fmt::format("pg_catalog.pg_typeof({}.{}) OPERATOR(pg_catalog.<>) {}::pg_catalog.regtype", alias, c.quoted, c.type);
    });
}

std::string regclass(const std::string& name) { return fmt::format("'{}'::pg_catalog.regclass", name); }

}  // namespace

std::string change_table(std::int64_t uid) { return fmt::format("homeostat_data.p{}_change", uid); }
std::string named_sequence(std::int64_t uid) { return fmt::format("homeostat_data.p{}_named", uid); }
std::string room_sequence(std::int64_t uid) { return fmt::format("homeostat_data.p{}_room", uid); }
std::string full_sequence(std::int64_t uid) { return fmt::format("homeostat_data.p{}_full", uid); }

CaptureFunctions::CaptureFunctions(std::int64_t uid, std::string stem, CapturedTable table)
    : uid_(uid),
      stem_(std::move(stem)),
      key_(std::move(table.key)),
      watched_(std::move(table.watched)),
      whole_row_(table.whole_row),
      tells_chunks_(table.tells_chunks) {}

// A search path of its own would cost a writer a third of what the function does; nothing in it depends on one: every name
// and every operator says its schema, and transition tables come before all else. So no NULLIF, no IN, no CASE x WHEN and no IS
// DISTINCT FROM: they look for their operator along the writer's path, and would call his with our rights.
//
// Nothing in it may fail a writer's statement, so all of it stands in a block that catches what it raises: the names in it are
// looked up when it runs, and whatever became of a column, a type, a right or an object of ours since then only ends the block.
// A block that writes takes a transaction number of its own. So it is the first naming of a transaction alone that writes inside:
// from then on the transaction holds the lock under which the table of changes stays as it is, and the others write after it.
//
// Nor does a writer wait for whoever has locked a table of ours: it is locked at once or not at all.
std::string CaptureFunctions::text(std::string_view event) const {
    const std::string does = body(event);
    std::string tag = "$homeostat$";  // anything that no identifier in it holds
    while (does.find(tag) != std::string::npos) tag.insert(1, "_");
    return fmt::format(
        "CREATE OR REPLACE FUNCTION homeostat_data.{}_{}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS {}\n"
        "#variable_conflict use_variable\nDECLARE\n    homeostat_keys pg_catalog.record;\n    homeostat_asleep boolean;\n"
        "    homeostat_moved boolean;\n    homeostat_full boolean := false;\n    homeostat_room bigint;\n"
        "    homeostat_named bigint;\n    homeostat_counted bigint;\n    homeostat_held bigint;\n"
        "    homeostat_kept boolean;\n    homeostat_inline bigint;\n    homeostat_said pg_catalog.text;\n"
        "BEGIN\n    BEGIN\n    {}\n    EXCEPTION WHEN OTHERS THEN\n        {}\n        RETURN NULL;\n    END;\n"
        "    {}\n    RETURN NULL;\nEND {}",
        stem_, event, tag, does, sweep_instead(), event == "truncate" ? "" : write(event), tag);
}

// What cannot be named is a sweep's to find, which is asked for past all transactions, by a number that nobody can lock as a
// table. Whoever alters that number's sequence is waited for: after his rollback nothing else would say it.
std::string CaptureFunctions::sweep_instead() const {
    // A transaction that has called cannot be prepared; where transactions are, nobody sleeps.
    const std::string call_if_allowed = fmt::format(
        "IF pg_catalog.current_setting('max_prepared_transactions') OPERATOR(pg_catalog.=) '0' THEN {} END IF;", notify());
    return fmt::format(
        "BEGIN\n            homeostat_named := pg_catalog.setval({}, {});\n            {}\n"
        "        EXCEPTION WHEN OTHERS THEN NULL;\n        END;",
        regclass(full_sequence(uid_)), kFull, call_if_allowed);
}

std::string CaptureFunctions::hold_table() const {
    return fmt::format("LOCK TABLE ONLY {} IN ROW EXCLUSIVE MODE NOWAIT;", change_table(uid_));
}

// One number, which all writers share: where they read more they wait for each other. So whoever finds no room calls nobody; who
// filled it called, and where his call was undone with him the number is seen at the next poll (full_feeds).
std::string CaptureFunctions::gate() const {
    return fmt::format("IF pg_catalog.pg_sequence_last_value({}) OPERATOR(pg_catalog.=) {} THEN RETURN NULL; END IF;\n    ",
                       regclass(full_sequence(uid_)), kFull);
}

std::string CaptureFunctions::body(std::string_view event) const {
    if (event == "truncate") {
        return fmt::format(
            "{}\n    {}\n    INSERT INTO {} (change) VALUES ('t');\n    homeostat_asleep := {};\n    {}\n"
            "    RETURN NULL;",
            hold_table(), hold_bell("ACCESS SHARE"), change_table(uid_), asleep(), ring());
    }
    const std::string does = gate() + (of_rows(event) ? row(event) : refuse_other_rows(event) + rows(event));
    return fmt::format("{}\n    IF homeostat_held IS NULL THEN\n        {}\n        RETURN NULL;\n    END IF;", does, ring());
}

// How many changes of this transaction have been named before; NULL where none has, or where what was held then may be held no
// more. The setting is the transaction's own and ends with it, as the lock does. The first to name takes the locks, and waits for
// none.
std::string CaptureFunctions::look_whether_held() const {
    return fmt::format(
        "homeostat_said := pg_catalog.current_setting('homeostat.p{0}', true);\n"
        "    homeostat_held := CASE WHEN homeostat_said OPERATOR(pg_catalog.<>) ''\n"
        "        AND pg_catalog.has_table_privilege('{1}', 'INSERT') THEN homeostat_said::pg_catalog.int8 END;\n"
        "    IF homeostat_held IS NULL THEN\n        {2}\n        {3}\n    END IF;\n    ",
        uid_, change_table(uid_), hold_table(), hold_bell("ACCESS SHARE"));
}

std::string CaptureFunctions::hold_bell(std::string_view mode) {
    return fmt::format("LOCK TABLE ONLY homeostat.feed_bell IN {} MODE NOWAIT;", mode);
}

std::string CaptureFunctions::hold() const {
    return fmt::format(
        "PERFORM pg_catalog.set_config('homeostat.p{}', (COALESCE(homeostat_held, 0) OPERATOR(pg_catalog.+)"
        " homeostat_named)::pg_catalog.text, true);\n    ",
        uid_);
}

// What is to be written: a row for each change.
std::string CaptureFunctions::changes(std::string_view event) const {
    if (key_.empty()) return "SELECT 'x'::pg_catalog.\"char\" AS c";
    if (event == "update") return updates();
    const std::string_view alias = event == "insert" ? "n" : "o";
    return fmt::format("SELECT CASE WHEN {} THEN 'x'::pg_catalog.\"char\" ELSE '{}'::pg_catalog.\"char\" END AS c, {} FROM {} {}",
                       of_other_types(key_, alias), event == "insert" ? "i" : "d", list(alias),
                       event == "insert" ? "new_rows" : "old_rows", alias);
}

// No more than there is room for: of a statement of more rows the rest is a sweep's to find, which the mark asks for, and costs
// its writer no more. Whoever counts at the same moment may be left out of the count: it is a bound, and no more. (nextval would
// count them all, and change what lastval() tells the writer.)
std::string CaptureFunctions::rows(std::string_view event) const {
    return (event == "update" && !key_.empty() ? refuse_other_types("(SELECT {} FROM new_rows n LIMIT 1)", "n") : "") +
           fmt::format(
               "homeostat_room := GREATEST(pg_catalog.pg_sequence_last_value({1}) OPERATOR(pg_catalog.-)"
               " pg_catalog.pg_sequence_last_value({0}), 1);\n    {5}IF homeostat_held IS NULL THEN\n"
               "        INSERT INTO {2} {3} LIMIT homeostat_room;\n"
               "        GET DIAGNOSTICS homeostat_named = ROW_COUNT;\n    ELSE\n"
               "        SELECT pg_catalog.array_agg(k) AS f1, pg_catalog.count(*) AS f2 INTO homeostat_keys FROM ({3} LIMIT"
               " homeostat_room) k;\n        homeostat_named := homeostat_keys.f2;\n    END IF;\n"
               "    IF homeostat_named OPERATOR(pg_catalog.=) 0 THEN RETURN NULL; END IF;\n    {4}",
               regclass(named_sequence(uid_)), regclass(room_sequence(uid_)), into(), changes(event), hold(),
               look_whether_held()) +
           fmt::format(
               "IF homeostat_named OPERATOR(pg_catalog.=) homeostat_room THEN\n        homeostat_full := true;\n"
               "        homeostat_room := pg_catalog.setval({1}, {2});\n    END IF;\n"
               "    homeostat_named := pg_catalog.setval({0}, pg_catalog.pg_sequence_last_value({0}) OPERATOR(pg_catalog.+)"
               " homeostat_named);\n    IF homeostat_held IS NULL THEN\n        {3}\n        homeostat_asleep := {4};\n"
               "    END IF;",
               regclass(named_sequence(uid_)), regclass(full_sequence(uid_)), kFull, mark(), asleep());
}

// A trigger that gives no transition tables leaves their names to the writer's search path, and what is called so there, a view
// of his, would be read with our rights. Whoever owns the table may make such a trigger; while it fires, nobody can change it.
// Without a key nothing of them is read.
std::string CaptureFunctions::refuse_other_rows(std::string_view event) const {
    if (key_.empty()) return "";
    std::string given;
    if (event != "delete") given += " AND t.tgnewtable OPERATOR(pg_catalog.=) 'new_rows'";
    if (event != "insert") given += " AND t.tgoldtable OPERATOR(pg_catalog.=) 'old_rows'";
    return fmt::format(
        "IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid OPERATOR(pg_catalog.=) TG_RELID\n"
        "        AND t.tgname OPERATOR(pg_catalog.=) TG_NAME{}) THEN RAISE EXCEPTION 'no trigger of ours'; END IF;\n    ",
        given);
}

// Raised inside the block that catches it.
std::string CaptureFunctions::refuse_other_types(std::string_view asked, std::string_view alias) const {
    std::vector<CapturedColumn> columns;
    if (!whole_row_) columns = by_exactness(watched_).exact;
    columns.insert(columns.end(), key_.begin(), key_.end());
    if (columns.empty()) return "";
    return fmt::format("IF {} THEN RAISE EXCEPTION 'a column has another type now'; END IF;\n    ",
                       fmt::format(fmt::runtime(asked), of_other_types(columns, alias)));
}

std::string CaptureFunctions::mark() const {
    return fmt::format("IF homeostat_full THEN INSERT INTO {} (change) VALUES ('x'); END IF;", change_table(uid_));
}

// A row whose key changed is one that went and one that came.
std::string CaptureFunctions::updates() const {
    // Of a row type IS NULL says whether all its fields are, and not whether there is a value.
    const std::string absent = key_[0].quoted + (key_[0].compare ? " IS NULL" : " IS NOT DISTINCT FROM NULL");
    return fmt::format(
        "SELECT CASE WHEN o.{0} THEN 'i' WHEN n.{0} THEN 'd' ELSE 'u' END::pg_catalog.\"char\" AS c, {1}\n"
        "    FROM new_rows n FULL JOIN old_rows o ON {2} WHERE n.{0} OR o.{0} OR {3}",
        absent,
        joined(key_, ", ",
               [](const CapturedColumn& c, std::size_t i) {
                   return fmt::format("coalesce(n.{0}, o.{0})::{1} AS k{2}", c.quoted, c.wide, i);
               }),
        same("n", "o"), differs("n", "o"));
}

// A row that came, or went.
std::string CaptureFunctions::name_row(std::string_view event) const {
    const std::string_view record = event == kRowInsert ? "NEW" : "OLD";
    return fmt::format(
        "{0}homeostat_named := 1;\n    {1}IF homeostat_held IS NOT NULL THEN\n"
        "        homeostat_keys := ROW('{2}'::pg_catalog.\"char\", {3}, {3});\n    ELSE\n"
        "        INSERT INTO {4} VALUES ('{2}', {3}) RETURNING {5} INTO homeostat_asleep;\n    END IF;\n    {6}",
        refuse_other_types("{}", record), look_whether_held(), event == kRowInsert ? 'i' : 'd', values(record), into(), asleep(),
        hold());
}

// A key that is NULL, or becomes it, is another one: nothing is equal to it.
std::string CaptureFunctions::name_moved() const {
    return refuse_other_types("{}", "NEW") + look_what_is_kept() +
           fmt::format(
               "homeostat_moved := ({0}) IS NOT TRUE;\n"
               "    IF NOT homeostat_moved AND NOT ({1}) THEN RETURN NULL; END IF;\n"
               "    homeostat_named := 1;\n    {2}IF homeostat_held IS NOT NULL THEN\n"
               "        IF homeostat_moved THEN homeostat_keys := ROW('i'::pg_catalog.\"char\", {3}, {4});\n"
               "        ELSE homeostat_keys := ROW('u'::pg_catalog.\"char\", {3}, {3}); END IF;\n"
               "    ELSIF homeostat_moved THEN\n"
               "        INSERT INTO {5} VALUES ('d', {4}), ('i', {3});\n        homeostat_asleep := {6};\n"
               "    ELSE\n        INSERT INTO {5} VALUES ('u', {3}) RETURNING {6} INTO homeostat_asleep;\n    END IF;\n    {7}",
               same("NEW", "OLD"), differs("NEW", "OLD"), look_whether_held(), values("NEW"), values("OLD"), into(), asleep(),
               hold());
}

// A sequence is written to the log each time, so not each is counted: of first changes of transactions one in sixteen, for all of
// them; of the others of a transaction the second, the fourth and so on to each 64th, for those since the last one.
std::string CaptureFunctions::row(std::string_view event) const {
    return (event == kRowUpdate ? name_moved() : name_row(event)) +
           fmt::format(
               "homeostat_named := COALESCE(homeostat_held, 0) OPERATOR(pg_catalog.+) 1;\n"
               "    homeostat_counted := CASE\n"
               "        WHEN homeostat_named OPERATOR(pg_catalog.=) 1 AND ((pg_catalog.txid_current() OPERATOR(pg_catalog.>>) 1)"
               " OPERATOR(pg_catalog.&) ({1} OPERATOR(pg_catalog.-) 1)) OPERATOR(pg_catalog.=) 0 THEN {1}\n"
               "        WHEN homeostat_named OPERATOR(pg_catalog.>) {0} AND homeostat_named OPERATOR(pg_catalog.%) {0}"
               " OPERATOR(pg_catalog.=) 0 THEN {0}\n"
               "        WHEN homeostat_named OPERATOR(pg_catalog.>) 1 AND homeostat_named OPERATOR(pg_catalog.<=) {0}"
               " AND (homeostat_named OPERATOR(pg_catalog.&) (homeostat_named OPERATOR(pg_catalog.-) 1))"
               " OPERATOR(pg_catalog.=) 0 THEN homeostat_named OPERATOR(pg_catalog./) 2 END;\n"
               "    IF homeostat_counted IS NOT NULL THEN\n"
               "        homeostat_counted := pg_catalog.setval({2}, pg_catalog.pg_sequence_last_value({2})"
               " OPERATOR(pg_catalog.+) homeostat_counted);\n"
               "        IF homeostat_counted OPERATOR(pg_catalog.>=) pg_catalog.pg_sequence_last_value({3}) THEN\n"
               "            homeostat_counted := pg_catalog.setval({4}, {5});\n        END IF;\n    END IF;",
               kCountedAtOnce, kFirstsCounted, regclass(named_sequence(uid_)), regclass(room_sequence(uid_)),
               regclass(full_sequence(uid_)), kFull);
}

// After the block: the transaction holds the table as it was when it first wrote to it, and the values are of its types.
std::string CaptureFunctions::write(std::string_view event) const {
    if (event == kRowInsert || event == kRowDelete)
        return fmt::format(
            "INSERT INTO {} VALUES (homeostat_keys.f1, {});", into(),
            joined(key_, ", ", [](const CapturedColumn&, std::size_t i) { return fmt::format("homeostat_keys.f{}", 1 + i); }));
    if (event == kRowUpdate) {
        const auto fields = [&](std::size_t from) {
            return joined(key_, ", ",
                          [&](const CapturedColumn&, std::size_t i) { return fmt::format("homeostat_keys.f{}", from + i); });
        };
        return fmt::format(
            "INSERT INTO {0} VALUES (homeostat_keys.f1, {1});\n"
            "    IF homeostat_keys.f1 OPERATOR(pg_catalog.=) 'i' THEN\n"
            "        INSERT INTO {0} VALUES ('d', {2});\n    END IF;",
            into(), fields(1), fields(1 + key_.size()));
    }
    return fmt::format(
        "INSERT INTO {0} SELECT t.* FROM pg_catalog.unnest(homeostat_keys.f1) AS t(c pg_catalog.\"char\"{1});\n"
        "    {2}",
        into(), joined(key_, "", [](const CapturedColumn& c, std::size_t i) { return fmt::format(", k{} {}", i, c.wide); }),
        mark());
}

std::string CaptureFunctions::asleep() const {
    return fmt::format("(SELECT b.asleep FROM homeostat.feed_bell b WHERE b.uid OPERATOR(pg_catalog.=) {})", uid_);
}

std::string CaptureFunctions::notify() const { return fmt::format("PERFORM pg_catalog.pg_notify('homeostat', 'f{}');", uid_); }

// Who calls says so, and nobody after it calls again. Nobody waits for anybody: while one has not committed, others call too.
// Above READ COMMITTED a row that changed since the snapshot would be the writer's error, so there it is left alone.
std::string CaptureFunctions::ring() const {
    return fmt::format(
        "IF homeostat_asleep THEN\n        IF pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.=) 'read "
        "committed' THEN\n            {2}\n"
        "            UPDATE homeostat.feed_bell SET asleep = false WHERE uid OPERATOR(pg_catalog.=) (SELECT b.uid FROM"
        " homeostat.feed_bell b\n                WHERE b.uid OPERATOR(pg_catalog.=) {0} AND b.asleep FOR UPDATE SKIP "
        "LOCKED);\n"
        "        END IF;\n        {1}\n    END IF;",
        uid_, notify(), hold_bell("ROW EXCLUSIVE"));
}

std::string CaptureFunctions::into() const {
    return fmt::format("{} (change{})", change_table(uid_),
                       joined(key_, "", [](const CapturedColumn&, std::size_t i) { return fmt::format(", key_{}", i); }));
}

std::string CaptureFunctions::list(std::string_view alias) const {
    return joined(key_, ", ", [&](const CapturedColumn& c, std::size_t i) {
        return fmt::format("CASE WHEN {} THEN NULL ELSE {}.{}::{} END AS k{}", of_other_types({c}, alias), alias, c.quoted,
                           c.wide, i);
    });
}

std::string CaptureFunctions::values(std::string_view record) const {
    return joined(key_, ", ",
                  [&](const CapturedColumn& c, std::size_t) { return fmt::format("{}.{}::{}", record, c.quoted, c.wide); });
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
    const bool by_row = now == "NEW";
    if (whole_row_) {
        const std::string any = fmt::format("pg_catalog.record_image_ne(ROW({}.*), ROW({}.*))", now, before);
        return by_row ? any_is_large() + any : any;
    }
    if (watched_.empty()) return "false";
    const auto [exact, others] = by_exactness(watched_);
    std::string out = joined(exact, " OR ", [&](const CapturedColumn& c, std::size_t) {
        return fmt::format(
            "{4}({0}.{2}{3} OPERATOR(pg_catalog.=) {1}.{2}{3}) IS NOT TRUE AND ({0}.{2} IS NOT NULL OR {1}.{2} IS NOT "
            "NULL)",
            now, before, c.quoted, *c.compare, by_row && c.may_be_apart ? fmt::format("({}) IS NOT TRUE AND ", unread(c)) : "");
    });
    if (others.empty()) return out;
    return fmt::format("{}{}pg_catalog.record_image_ne({}, {})", out, out.empty() ? "" : " OR ",
                       by_row ? image_but_unread(others, now) : image(others, now),
                       by_row ? image_but_unread(others, before) : image(others, before));
}

}  // namespace homeostat
