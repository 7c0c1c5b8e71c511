// What the triggers on a source do: the text of their functions, one for each kind of statement.
//
// A function names the keys of what was changed, with one insert-select a statement, and calls where nobody looks. It goes on
// naming only while there is room. Writers who are faster than what they change can be healed fill that room, and from then on
// pay for no more than seeing that it is full; a sweep finds what they changed, and makes room again (store/feed/feed.hpp). How
// much there is, and whether it was too little, sequences say: they are read and written past all transactions, so a transaction
// that filled the feed and is undone leaves it full without a call; who looks at the pipeline next (store/feed/rest.hpp) sees
// that.
//
// A function never fails the statement it is called by, whatever became of the table, of ours or of rights since it was made:
// what it cannot name it turns into a feed that is full, and where even that cannot be said it says nothing; the next look finds
// what is missing. It calls no nextval, which lastval() would show to the writer, reads no table of ours but the bell, and
// compares bytes.
//
// Nor does it wait for whoever has locked a table of ours (LOCK, VACUUM FULL, CREATE INDEX): it asks for a sweep instead.
//
// It runs with the controller's rights, and calls nothing that anybody else can make: names and operators are given in full, and
// values are converted and compared only while their columns have the types that they had when it was made. A column that was
// given another since, perhaps with a cast of its owner's, makes the feed full instead.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace homeostat {

struct CapturedColumn {
    std::string name;
    std::string quoted;
    std::string type;                    // a literal that names it in full
    std::string wide;                    // of a key: the type under which changes are kept
    std::optional<std::string> compare;  // suffix with which equal values have equal texts; absent: only their bytes tell
    bool may_be_apart = false;           // its values may be kept outside of their rows (TOAST)
};

// An update by a trigger of its row and not of its statement: without two transition tables it costs a writer of one row half as
// much, and one of millions no copy of them all.
constexpr std::string_view kRowUpdate = "update_row";
// The same of what comes and goes, where a statement's transition tables may have no room (temp_file_limit): dearer to who writes
// many rows, but none of them is copied.
constexpr std::string_view kRowInsert = "insert_row";
constexpr std::string_view kRowDelete = "delete_row";
constexpr bool of_rows(std::string_view event) noexcept { return event.ends_with("_row"); }

// Of one relation.
struct CapturedTable {
    std::vector<CapturedColumn> key;  // without one a change only says that something changed
    std::vector<CapturedColumn> watched;
    bool whole_row = false;  // any difference is a change; `watched` is all columns then
    bool tells_chunks = false;  // the server says where a value is kept (PostgreSQL 17)
};

class CaptureFunctions {
public:
    // `stem` names them.
    CaptureFunctions(std::int64_t uid, std::string stem, CapturedTable table);

    // `event`: insert, update, delete or truncate, of a statement; or one of_rows().
    std::string text(std::string_view event) const;

private:
    std::string body(std::string_view event) const;
    std::string sweep_instead() const;
    std::string hold_table() const;
    static std::string hold_bell(std::string_view mode);
    std::string gate() const;
    std::string look_whether_held() const;
    std::string hold() const;
    std::string changes(std::string_view event) const;
    std::string rows(std::string_view event) const;
    std::string mark() const;
    std::string updates() const;
    std::string row(std::string_view event) const;
    std::string name_row(std::string_view event) const;
    std::string name_moved() const;
    std::string write(std::string_view event) const;
    std::string asleep() const;
    std::string ring() const;
    std::string notify() const;
    std::string into() const;
    std::string list(std::string_view alias) const;
    std::string values(std::string_view record) const;
    std::string image(const std::vector<CapturedColumn>& columns, std::string_view alias) const;
    std::string image_but_unread(const std::vector<CapturedColumn>& columns, std::string_view record) const;
    std::string look_what_is_kept() const;
    std::string unread(const CapturedColumn& column) const;
    std::string any_is_large() const;
    std::string same(std::string_view now, std::string_view before) const;
    std::string differs(std::string_view now, std::string_view before) const;
    std::string refuse_other_rows(std::string_view event) const;
    std::string refuse_other_types(std::string_view asked, std::string_view alias) const;

    std::int64_t uid_;
    std::string stem_;
    std::vector<CapturedColumn> key_;
    std::vector<CapturedColumn> watched_;
    bool whole_row_;
    bool tells_chunks_;
};

// Qualified names of what belongs to a pipeline's feed.
std::string change_table(std::int64_t uid);
std::string named_sequence(std::int64_t uid);  // how many changes were named
std::string room_sequence(std::int64_t uid);  // up to how many may be
std::string full_sequence(std::int64_t uid);  // kFull: there was no room for some, and for none until that is taken back

constexpr std::int64_t kNotFull = 1;
constexpr std::int64_t kFull = 2;
// Of changes. Reading 200,000 rows to find what changed costs about as much as naming so many and taking them up by name.
constexpr std::int64_t kRoomAtLeast = 4'000;
constexpr std::int64_t kRowsForRoom = 50;  // of a larger source, for each change more

}  // namespace homeostat
