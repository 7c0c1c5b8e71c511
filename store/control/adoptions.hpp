// Adoptions as rows (homeostat.adoption): vectors of others that people want taken over for a pipeline, and what the controller
// makes of it. What is named wrongly is found by the trigger of its table (migration: adoption). Statements throw StoreFailure
// unless they return a Result.
//
// requested -> audited -> running -> done; refused from each of them. What is audited is not paid for again, and a run goes on
// behind the last document whose step was committed.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/clock.hpp"
#include "store/control/runs.hpp"
#include "store/data/drift.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

// Why a document is left to be embedded.
enum class LeftBehind : std::uint8_t {
    without_vector,  // nothing there is of it
    other_chunks,    // it is cut into others than there are vectors for
    other_text,      // its text, or that of a chunk, is another now
    duplicate,       // two vectors say that they are of the same chunk
    other_width,
    not_a_vector,    // NaN, infinite, zero, or beyond what is stored
};
inline constexpr std::size_t kLeftBehind = 6;
std::string_view to_string(LeftBehind why) noexcept;
using LeftCounts = std::array<std::int64_t, kLeftBehind>;
// "12 with another text, 3 without a vector"; "" where there is none.
std::string left_text(const LeftCounts& left);

struct AdoptionCounts {
    std::int64_t looked_at = 0;  // documents of the source
    std::int64_t documents = 0, chunks = 0;  // adopted
    LeftCounts left{};
    std::int64_t used = 0;  // rows whose vector was taken over
};

enum class AdoptionState : std::uint8_t { requested, audited, running, done, refused };

struct AdoptionRequest {
    std::int64_t id = 0;
    std::int64_t generation = 0;  // of the pipeline, when it was asked for
    std::int64_t run_id = 0;      // once it is running
    AdoptionState state = AdoptionState::requested;
    std::string relation;
    std::vector<std::string> key;
    std::string vector;
    std::optional<std::string> chunk, text;
    std::size_t sample = 0;
    std::int64_t first_chunk = 0;
    std::int64_t vectors = 0;  // rows there
    std::optional<Key> cursor;
    AdoptionCounts counts;
    std::string requested_by;
};
// The one that is open.
std::optional<AdoptionRequest> read_adoption_request(Transaction& tx, std::int64_t uid);

struct AdoptionAudit {
    std::int64_t first_chunk = 0, vectors = 0;
    std::int64_t compared = 0;
    double worst = 0;  // cosine distance
    std::int64_t tokens = 0;
};
void note_adoption_audit(Transaction& tx, std::int64_t id, const AdoptionAudit& audit);
// What it waits for.
void tell_adoption(Transaction& tx, std::int64_t id, std::string_view message);
void begin_adoption(Transaction& tx, std::int64_t id, std::int64_t run_id);
// Behind `cursor`; with what this step has done.
void move_adoption(Transaction& tx, std::int64_t id, const Key& cursor, const AdoptionCounts& step);
// In the transaction that ends its run: the record of the run and the status of the pipeline say what was adopted, and the next
// look is due, and deep.
void end_adoption(Transaction& tx, std::int64_t uid, const AdoptionRequest& request, const Totals& stored,
                  std::string_view message);
void refuse_adoption(Transaction& tx, std::int64_t id, std::string_view why);
// Draws a number that no claim has, for the writes of a step.
std::int64_t fresh_write_token(Transaction& tx);

// --- for people ------------------------------------------------------------------------------------------------------------

struct AdoptionWish {
    std::string pipeline, relation;
    std::string key;  // a list of columns; "": those of the pipeline's key, by name
    std::string vector;
    std::optional<std::string> chunk, text;
    unsigned sample = 0;
};
struct Adoption {
    std::int64_t id = 0;
    std::string pipeline, relation;
    AdoptionState state = AdoptionState::requested;
    std::string message;
    AdoptionCounts counts;
    std::int64_t vectors = 0, run_id = 0, tokens = 0, compared = 0;
    double worst = 0;
    std::string requested_by;
    WallTime requested_at{};
    std::optional<WallTime> ended_at;
};
// Relations are named as the session's own search_path finds them.
Result<std::int64_t> request_adoption(Session& session, const AdoptionWish& wish);
Result<std::vector<Adoption>> read_adoptions(Session& session, const std::string& pipeline, std::optional<std::int64_t> id,
                                             int limit);  // newest first
std::string_view to_string(AdoptionState state) noexcept;

// A pipeline that was just declared waits for a person: nothing of it is embedded before.
void suspend_new(Transaction& tx, std::string_view pipeline);

}  // namespace homeostat
