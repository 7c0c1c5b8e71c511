// Values that are kept outside of their rows (TOAST), in the trigger of an updated row: what was not written is not read.
//
// To compare a value is to read all of it, which costs hundreds of times what an UPDATE of a counter beside it does. A row that
// is updated keeps such values where they are, and only that is asked for. Where the server does not say it, it follows:
//   1. A value of a row that was just written is apart for certain where it is larger than a page.
//   2. One that is apart is either the old row's, or was put there when this row was written; and the server counts what a
//      transaction puts there. Where it has put nothing there, the value is the old row's, byte for byte.
// Both are asked when the trigger fires, by which time the statement has written all its rows, so nothing that is done to the
// table later makes it untrue. Where either is not certain, values are compared. Of smaller ones that costs less than to ask.
#include <fmt/format.h>

#include "store/feed/capture_functions.hpp"

namespace homeostat {

namespace {

// Of bytes, as they are stored. PostgreSQL may be built with larger pages, which is asked for.
constexpr int kLarge = 8'000;

std::string sizes(const std::vector<CapturedColumn>& columns) {
    std::string out;
    for (const CapturedColumn& c : columns) {
        if (c.may_be_apart) out += fmt::format("{}pg_catalog.pg_column_size(NEW.{})", out.empty() ? "" : ", ", c.quoted);
    }
    return out.empty() ? out : fmt::format("GREATEST({})", out);
}

}  // namespace

// Once a row, and only where a value may be apart. A count is 0 also where counting is switched off, and with another access
// method.
std::string CaptureFunctions::look_what_is_kept() const {
    const std::string largest = whole_row_ || tells_chunks_ ? "" : sizes(watched_);
    if (largest.empty()) return "";
    return fmt::format(
        "IF {} OPERATOR(pg_catalog.>) {} THEN\n"
        "        SELECT pg_catalog.current_setting('track_counts') OPERATOR(pg_catalog.=) 'on'\n"
        "            AND c.relam OPERATOR(pg_catalog.=) 2::pg_catalog.oid"
        " AND c.reltoastrelid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid\n"
        "            AND pg_catalog.pg_stat_get_xact_tuples_inserted(c.reltoastrelid) OPERATOR(pg_catalog.=) 0,\n"
        "            pg_catalog.current_setting('block_size')::pg_catalog.int8\n"
        "        INTO homeostat_kept, homeostat_inline FROM pg_catalog.pg_class c"
        " WHERE c.oid OPERATOR(pg_catalog.=) TG_RELID;\n    END IF;\n    ",
        largest, kLarge);
}

// Whether its value is the old row's for certain, without a look at it. What a chunk is called by is not given to another while
// the old row's is there, which it is until this transaction has ended.
std::string CaptureFunctions::unread(const CapturedColumn& column) const {
    if (tells_chunks_) {
        return fmt::format(
            "pg_catalog.pg_column_toast_chunk_id(NEW.{0}) OPERATOR(pg_catalog.=) pg_catalog.pg_column_toast_chunk_id(OLD.{0})",
            column.quoted);
    }
    return fmt::format("homeostat_kept AND pg_catalog.pg_column_size(NEW.{}) OPERATOR(pg_catalog.>) homeostat_inline",
                       column.quoted);
}

// Both records leave the same columns out.
std::string CaptureFunctions::image_but_unread(const std::vector<CapturedColumn>& columns, std::string_view record) const {
    std::string fields;
    for (const CapturedColumn& c : columns) {
        const std::string value = fmt::format("{}.{}", record, c.quoted);
        fields += fields.empty() ? "" : ", ";
        fields += c.may_be_apart ? fmt::format("CASE WHEN ({}) IS NOT TRUE THEN {} END", unread(c), value) : value;
    }
    return fmt::format("ROW({})::pg_catalog.record", fields);
}

// A whole row is named without a comparison where that would read much: an update that changes nothing of a row is rare.
std::string CaptureFunctions::any_is_large() const {
    const std::string largest = sizes(watched_);
    return largest.empty() ? "" : fmt::format("{} OPERATOR(pg_catalog.>) {} OR ", largest, kLarge);
}

}  // namespace homeostat
