#include "reconcilers/factory/targets.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>

#include "reconcilers/gateway/on.hpp"
#include "store/data/revision_keys.hpp"

namespace homeostat {

namespace asio = boost::asio;

namespace {

// What no mark tells of (membership of roles, operator classes) is taken up in the end all the same.
constexpr Duration kKept = std::chrono::hours(1);

// Roughly; strings of names, and most of all the content expression.
std::size_t size_of(const TargetInfo& i) {
    constexpr std::size_t kColumn = sizeof(ColumnShape) + 64;
    const std::size_t columns = i.source.key.size() + i.source.metadata.size();
    return sizeof i + 2'048 + columns * kColumn + i.source.content.size() + i.spec.content_template.value_or("").size() * 2 +
           i.peers.size() * (sizeof(ProviderSpec) + 512);
}

// Whether a provider that is not declared any more still makes what it is named for: by its own word, or because its row is what
// it was when it was last asked for that model. One that was edited since may ask another server by the same name.
Result<bool> still_makes(Session& session, const PipelineSpec& declared, const ProviderSpec& provider,
                         const RevisionSettings& made) {
    PipelineSpec plain = declared;
    plain.model.reset();
    const RevisionSettings now = RevisionSettings::of(plain, provider);
    if (now.document_prefix != made.document_prefix || now.request != made.request) return false;
    if (now.model == made.model) return true;
    Result<std::optional<ProviderRecord>> heard = read_provider_record(session, provider.uid, made.model);
    if (!heard) return heard.error();
    return heard->has_value() && (*heard)->generation == provider.generation;
}

}  // namespace

// Between a new declaration and its revision, and beside that while it is filled, the old one is still healed, and the provider
// that is declared now would make other vectors: then it is the one the revision was made by, where that is still what it was.
Result<ProviderSpec> provider_of_revision(Session& session, const PipelineSpec& declared, const Revision& revision) {
    const RevisionSettings& made = revision.settings;
    Result<ProviderSpec> provider = find_provider(session, declared.provider);
    if (!provider) return provider;
    const RevisionSettings wanted = RevisionSettings::of(declared, *provider);
    if (wanted.model == made.model && wanted.dimensions == made.dimensions && wanted.document_prefix == made.document_prefix &&
        wanted.request == made.request)
        return provider;
    Result<ProviderSpec> earlier = find_provider(session, made.provider);
    if (!earlier && earlier.error().cls != ErrorClass::not_found) return earlier;
    if (earlier) {
        const Result<bool> makes = still_makes(session, declared, *earlier, made);
        if (!makes) return makes.error();
        if (*makes) return earlier;
    }
    return Error{.cls = ErrorClass::conflict,
                 .message = fmt::format(
                     "pipeline \"{}\": no provider makes the vectors of revision {} any more; {}", declared.name, revision.number,
                     declared.revision_pin == revision.number
                         ? fmt::format("it is pinned and searched, and what changes is not embedded until provider \"{}\""
                                       " makes {} again, or homeostat resume {}",
                                       made.provider, made.model, declared.name)
                         : "the next one replaces it"),
                 .origin = Origin::user,
                 .code = std::string(kRevisionOutdated)};
}

bool other_provider(const ProviderSpec& read, const DeclaredProvider& now) noexcept {
    return read.name == now.name && (read.uid != now.uid || read.generation != now.generation);
}

const Revision* pinned_revision(const PipelineSpec& declared, const std::vector<Revision>& revisions) {
    const auto it = std::ranges::find_if(revisions, [&](const Revision& r) { return r.number == declared.revision_pin; });
    return it == revisions.end() ? nullptr : &*it;
}

RevisionSettings wanted_settings(const PipelineSpec& declared, const ProviderSpec& provider,
                                 const std::vector<Revision>& revisions) {
    const Revision* pinned = pinned_revision(declared, revisions);
    return pinned != nullptr ? pinned->settings : RevisionSettings::of(declared, provider);
}

PipelineSpec spec_of_revision(const PipelineSpec& declared, const RevisionSettings& s) {
    PipelineSpec spec = declared;
    spec.key = s.key;
    spec.content = s.content;
    spec.content_template = s.content_template;
    spec.chunk_context = s.chunk_context;
    spec.model = s.model;
    spec.dimensions = s.dimensions;
    spec.chunker = s.chunker;
    spec.chunk_size = s.chunk_size;
    spec.chunk_overlap = s.chunk_overlap;
    spec.chunk_unit = s.chunk_unit;
    return spec;
}

ChunkSettings chunk_settings(const RevisionSettings& s) {
    ChunkSettings settings;
    settings.chunker = s.chunker;
    if (s.chunk_size > 0) settings.size = s.chunk_size;
    settings.overlap = s.chunk_overlap;
    settings.unit = s.chunk_unit == "characters" ? ChunkUnit::characters : ChunkUnit::tokens;
    return settings;
}

Targets::Targets(Pool& reads, asio::any_io_executor db, const Clock& clock, Registry& metrics, std::size_t bytes)
    : reads_(reads),
      db_(std::move(db)),
      clock_(clock),
      cache_(
          "targets", {bytes, kKept}, [](const Entry& e) { return size_of(*e.info); }, clock, metrics),
      looks_("target_checks", {0, Duration::zero()}, [](const bool&) { return sizeof(bool); }, clock, metrics) {}

asio::awaitable<Result<Targets::Info>> Targets::get(std::int64_t uid, std::int64_t generation, std::int32_t revision,
                                                    Context context) {
    const std::string key = fmt::format("{}\n{}\n{}", uid, generation, revision);
    for (;;) {
        std::function<asio::awaitable<Result<Entry>>()> load = [this, uid, revision, context] {
            return load_elsewhere(uid, revision, context);
        };
        Result<EntryPtr> entry = co_await cache_.get(key, std::move(load), context);
        if (!entry) co_return std::move(entry).error();
        const Info& info = (*entry)->info;
        if (info->spec.generation != generation) {
            // It has been declared anew; what was read belongs to another key, and this one is asked for by its last batches.
            cache_.forget(key);
            co_return info;
        }
        {
            const Lock lock(mutex_);
            used_[key] = *entry;
        }
        if (clock_.steady_now() - (*entry)->checked->load() < kFresh) co_return info;
        std::function<asio::awaitable<Result<bool>>()> look = [this, context] { return look_elsewhere(context); };
        Result<Cache<bool>::Value> looked = co_await looks_.get("", std::move(look), context);
        if (!looked) co_return std::move(looked).error();
    }
}

asio::awaitable<Result<Targets::Entry>> Targets::load_elsewhere(std::int64_t uid, std::int32_t revision, Context context) {
    co_return co_await on(db_, [&] { return load(uid, revision, context); });
}

asio::awaitable<Result<bool>> Targets::look_elsewhere(Context context) {
    co_return co_await on(db_, [&] { return look(context); });
}

void Targets::forget(std::int64_t uid) { cache_.forget_prefix(fmt::format("{}\n", uid)); }

bool Targets::outdated(const TargetInfo& info, const Context& context) {
    Result<Pool::Lease> session = reads_.acquire(context);
    if (!session) return false;
    const auto marks = read_target_marks(**session, {{info.spec.uid, info.revision.number}});
    return marks && marks->size() == 1 && marks->front() != info.mark;
}

// Who comes while a look is under way waits for it; where it was not among what is looked at, it looks again.
Result<bool> Targets::look(const Context& context) {
    std::map<std::string, std::weak_ptr<const Entry>> used;
    {
        const Lock lock(mutex_);
        used.swap(used_);
    }
    std::vector<std::pair<std::string, EntryPtr>> entries;
    std::vector<TargetName> names;
    for (const auto& [key, weak] : used) {
        EntryPtr entry = weak.lock();
        if (!entry) continue;
        names.push_back({entry->info->spec.uid, entry->info->revision.number});
        entries.emplace_back(key, std::move(entry));
    }
    const SteadyTime now = clock_.steady_now();
    Result<Pool::Lease> session = reads_.acquire(context);
    if (!session) return session.error();
    const Result<std::vector<std::string>> marks = read_target_marks(**session, names);
    if (!marks) return marks.error();
    for (std::size_t i = 0; i < entries.size(); ++i) {
        if ((*marks)[i] == entries[i].second->info->mark) {
            entries[i].second->checked->store(now);
        } else {
            cache_.forget(entries[i].first);
        }
    }
    return true;
}

// The mark comes first: what changes while the rest is read makes it another, and the next look sees that.
Result<Targets::Entry> Targets::load(std::int64_t uid, std::int32_t revision, const Context& context) {
    Result<Pool::Lease> session = reads_.acquire(context);
    if (!session) return session.error();
    const SteadyTime now = clock_.steady_now();
    Result<std::vector<std::string>> marks = read_target_marks(**session, {{uid, revision}});
    if (!marks) return marks.error();
    Result<Info> info = read(**session, uid, revision, std::move(marks->front()));
    if (!info) return info.error();
    return Entry{*std::move(info), std::make_shared<std::atomic<SteadyTime>>(now)};
}

Result<Targets::Info> Targets::read(Session& session, std::int64_t uid, std::int32_t number, std::string mark) {
    Result<PipelineSpec> declared = read_pipeline(session, uid);
    if (!declared) return declared.error();
    Result<std::vector<Revision>> revisions = read_revisions(session, uid);
    if (!revisions) return revisions.error();
    const auto revision =
        std::find_if(revisions->begin(), revisions->end(), [&](const Revision& r) { return r.number == number; });
    if (revision == revisions->end()) return not_found(fmt::format("pipeline \"{}\" has no revision {}", declared->name, number));
    // Beside the next one, or pinned, it is searched whatever is declared: with the columns that it has, and without embedding
    // where nobody can.
    const bool pinned = revision->state == "served" && declared->revision_pin.has_value();
    const bool beside = revision->state == "served" && std::any_of(revisions->begin(), revisions->end(),
                                                                   [](const Revision& r) { return r.state == "building"; });

    auto info = std::make_shared<TargetInfo>();
    info->mark = std::move(mark);
    info->spec = spec_of_revision(*declared, revision->settings);
    Result<ProviderSpec> provider = provider_of_revision(session, *declared, *revision);
    if (!provider && (beside || pinned) && provider.error().code == kRevisionOutdated) {
        info->unprovided = provider.error();
    } else if (!provider) {
        return provider.error();
    } else {
        info->provider = *std::move(provider);
        Result<std::vector<ProviderSpec>> peers = list_peers(session, info->provider);
        if (!peers) return peers.error();
        info->peers = *std::move(peers);
    }
    info->revision = *revision;
    if (beside) {
        info->spec.metadata.clear();
        std::ranges::copy_if(revision->tables.metadata_slots, std::back_inserter(info->spec.metadata),
                             [](const std::string& name) { return !name.empty(); });
    }
    // What was declared since its tables were altered last has no place in them yet: edits do not wait for that, and the run of
    // the new declaration fills it.
    std::erase_if(info->spec.metadata, [&](const std::string& name) { return revision->tables.metadata_column(name).empty(); });
    if (chunker_program(revision->settings.chunker).empty()) {
        Result<std::unique_ptr<Chunker>> chunker = make_chunker(chunk_settings(revision->settings));
        if (!chunker) return chunker.error();
        info->chunker = *std::move(chunker);
    }
    return guarded([&]() -> Result<Info> {
        Transaction tx = session.begin(TxMode::read_only);
        Result<SourceShape> source = inspect_source(tx, info->spec);
        if (!source) return source.error();
        Result<VectorExtension> vectors = find_vector_extension(tx);
        if (!vectors) return vectors.error();
        // Nothing can be written until a pass has brought them together.
        Result<std::optional<std::string>> differs = key_type_differs(tx, info->revision, *source);
        if (!differs) return differs.error();
        if (*differs) {
            return Error{.cls = ErrorClass::conflict,
                         .message = fmt::format("pipeline \"{}\": {}; its next pass mends that", info->spec.name, **differs),
                         .origin = Origin::user,
                         .code = "KeyTypeChanged"};
        }
        info->source = *std::move(source);
        info->vectors = *std::move(vectors);
        return Info(info);
    });
}

}  // namespace homeostat
