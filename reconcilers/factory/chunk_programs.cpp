#include "reconcilers/factory/chunk_programs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "reconcilers/gateway/on.hpp"

namespace homeostat {

namespace asio = boost::asio;

namespace {

constexpr Duration kLeft = std::chrono::seconds(10);
// Of a program that failed and is not in quarantine: what it fails at next decides.
constexpr std::chrono::milliseconds kAgain{1'000};
constexpr std::array<std::string_view, 4> kStates{"not asked yet", "ready", "refused", "quarantined"};

Error missing(Error e) {
    e.cls = ErrorClass::unavailable;
    e.code = kChunkerMissing;
    e.retry_after.reset();
    return e;
}

// No document has an attempt counted for what a program does, unless it was alone; and that is told by refusal.
Error at_no_cost(Error e) {
    switch (e.cls) {
        case ErrorClass::invalid:
        case ErrorClass::local: return missing(std::move(e));
        case ErrorClass::transient:
        case ErrorClass::timeout:
        case ErrorClass::bad_answer:
            e.cls = ErrorClass::unavailable;
            if (!e.retry_after) e.retry_after = kAgain;
            return e;
        default: return e;
    }
}

bool has_plain_letter(std::string_view text) {
    return std::any_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

}  // namespace

std::string_view to_string(ChunkPrograms::State state) noexcept { return kStates[static_cast<std::size_t>(state)]; }

Status check_registered(std::string_view chunker, const std::vector<ChunkerProgram>& registered) {
    const std::string_view name = chunker_program(chunker);
    if (name.empty()) return {};
    std::vector<std::string> names;
    for (const ChunkerProgram& p : registered) {
        if (p.name == name) return {};
        names.push_back("program:" + p.name);
    }
    const std::vector<std::string_view> known(names.begin(), names.end());
    return invalid(
        fmt::format("chunker \"{}\" is not registered in the settings of this replica{}; whoever runs homeostat lists it in "
                    "chunkers",
                    chunker, did_you_mean(chunker, known)));
}

ChunkPrograms::ChunkPrograms(std::vector<ChunkerProgram> registered, Maker make, asio::any_io_executor db)
    : registered_(std::move(registered)),
      make_(std::move(make)),
      db_(std::move(db)),
      whole_(make_chunker({.chunker = "whole"})) {}

asio::awaitable<Status> ChunkPrograms::ready(std::string chunker) {
    Result<ChunkerPtr> found = co_await find(std::move(chunker));
    if (!found) co_return std::move(found).error();
    const std::string reason = (*found)->figures().quarantine;
    if (reason.empty()) co_return Status{};
    co_return Error{.cls = ErrorClass::unavailable,
                    .message = fmt::format("chunker \"program:{}\": {}", (*found)->name(), reason),
                    .origin = Origin::theirs};
}

asio::awaitable<Result<std::vector<CutDocument>>> ChunkPrograms::cut(ChunkSettings settings, bool in_context,
                                                                     const std::vector<ReadDocument>& documents,
                                                                     Context context) {
    if (!whole_) co_return whole_.error();
    Result<ChunkerPtr> found = co_await find(settings.chunker);
    if (!found) co_return std::move(found).error();
    std::vector<std::string_view> texts;
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < documents.size(); ++i) {
        if (!is_cut(documents[i]) || is_blank(documents[i].content)) continue;
        texts.emplace_back(documents[i].content);
        places.push_back(i);
    }
    std::vector<CutDocument> out(documents.size());
    if (texts.empty()) co_return out;
    // The same for every document, so that a batch's other documents decide nothing.
    const std::uint32_t for_context = in_context ? settings.size / 4 : 0;
    CutRules rules{.size = settings.size - for_context,
                   .overlap = settings.overlap,
                   .unit = settings.unit == ChunkUnit::tokens ? "tokens" : "characters"};
    const ChunkerPtr chunker = *found;
    Result<std::vector<CutText>> cut = co_await chunker->cut(texts, std::move(rules), std::move(context));
    if (!cut) co_return at_no_cost(std::move(cut).error());
    for (std::size_t i = 0; i < places.size(); ++i) {
        CutDocument& document = out[places[i]];
        document.refused = std::move((*cut)[i].refused);
        const std::string before = beginning(documents[places[i]].context, for_context, settings.unit);
        for (ProgramChunk& c : (*cut)[i].chunks) {
            if (!before.empty()) c.context = c.context.empty() ? before : fmt::format("{}\n{}", before, c.context);
            document.chunks.push_back({.context = std::move(c.context),
                                       .text = texts[i].substr(c.start, c.end - c.start),
                                       .start = c.start,
                                       .end = c.end});
        }
    }
    co_return out;
}

asio::awaitable<Result<ChunkPrograms::ChunkerPtr>> ChunkPrograms::find(std::string chunker) {
    const std::string_view name = chunker_program(chunker);
    {
        const Lock lock(mutex_);
        if (const auto it = made_.find(name); it != made_.end()) co_return it->second;
    }
    if (Status known = check_registered(chunker, registered_); !known) co_return missing(std::move(known).error());
    const auto program =
        std::find_if(registered_.begin(), registered_.end(), [&](const ChunkerProgram& p) { return p.name == name; });
    co_return co_await on(db_, [this, program] { return make(*program); });
}

// Two may come at once: the first that is made is everybody's.
Result<ChunkPrograms::ChunkerPtr> ChunkPrograms::make(const ChunkerProgram& program) {
    Result<ChunkerPtr> made = make_(program);
    const Lock lock(mutex_);
    if (!made) {
        refused_[program.name] = made.error().message;
        return missing(std::move(made).error());
    }
    refused_.erase(program.name);
    return made_.try_emplace(program.name, *std::move(made)).first->second;
}

std::string ChunkPrograms::beginning(const std::string& context, std::uint32_t units, ChunkUnit unit) {
    if (units == 0 || context.empty()) return {};
    const auto cutter = make_chunker({.chunker = "fixed", .size = units, .unit = unit});
    if (!cutter) return {};
    const std::vector<Chunk> parts = (*cutter)->chunk(context);
    return parts.empty() ? std::string() : std::string(parts.front().text);
}

bool ChunkPrograms::is_blank(std::string_view text) const { return !has_plain_letter(text) && (*whole_)->chunk(text).empty(); }

void ChunkPrograms::leave(std::int64_t uid, SteadyTime now) {
    const Lock lock(mutex_);
    left_[uid] = now + kLeft;
}

std::vector<std::int64_t> ChunkPrograms::left(SteadyTime now) {
    const Lock lock(mutex_);
    std::erase_if(left_, [&](const auto& entry) { return entry.second <= now; });
    std::vector<std::int64_t> out;
    for (const auto& [uid, until] : left_) out.push_back(uid);
    return out;
}

std::vector<ChunkPrograms::Line> ChunkPrograms::lines() const {
    const Lock lock(mutex_);
    std::vector<Line> out;
    for (const ChunkerProgram& p : registered_) {
        Line line{.name = p.name, .command = p.command.front()};
        if (const auto it = made_.find(p.name); it != made_.end()) {
            const ChunkerFigures f = it->second->figures();
            line.state = f.quarantine.empty() ? State::ready : State::quarantined;
            line.reason = f.quarantine;
            line.requests = f.requests;
            line.failures = f.failures;
            line.mean_seconds = f.mean_seconds;
        } else if (const auto why = refused_.find(p.name); why != refused_.end()) {
            line.state = State::refused;
            line.reason = why->second;
        }
        out.push_back(std::move(line));
    }
    return out;
}

}  // namespace homeostat
