#include "reconcilers/factory/targets.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace homeostat {

PipelineSpec spec_of_revision(const PipelineSpec& declared, const RevisionSettings& s) {
    PipelineSpec spec = declared;
    spec.key = s.key;
    spec.content = s.content;
    spec.content_template = s.content_template;
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

Result<std::shared_ptr<const TargetInfo>> Targets::get(std::int64_t uid, std::int64_t generation, std::int32_t revision,
                                                       const Context& context) {
    const auto key = std::make_tuple(uid, generation, revision);
    {
        const Lock lock(mutex_);
        const auto it = known_.find(key);
        if (it != known_.end() && clock_.steady_now() - it->second.read_at < kFresh) return it->second.info;
    }
    Result<std::shared_ptr<const TargetInfo>> loaded = load(uid, revision, context);
    if (!loaded) return loaded;
    const Lock lock(mutex_);
    if (known_.size() >= limit_) known_.clear();
    if ((*loaded)->spec.generation == generation) known_[key] = {*loaded, clock_.steady_now()};
    return loaded;
}

void Targets::forget(std::int64_t uid) {
    const Lock lock(mutex_);
    std::erase_if(known_, [uid](const auto& entry) { return std::get<0>(entry.first) == uid; });
}

Result<std::shared_ptr<const TargetInfo>> Targets::load(std::int64_t uid, std::int32_t number, const Context& context) {
    Result<Pool::Lease> session = reads_.acquire(context);
    if (!session) return session.error();
    Result<PipelineSpec> declared = read_pipeline(**session, uid);
    if (!declared) return declared.error();
    Result<ProviderSpec> provider = find_provider(**session, declared->provider);
    if (!provider) return provider.error();
    Result<std::vector<Revision>> revisions = read_revisions(**session, uid);
    if (!revisions) return revisions.error();
    const auto revision =
        std::find_if(revisions->begin(), revisions->end(), [&](const Revision& r) { return r.number == number; });
    if (revision == revisions->end()) return not_found(fmt::format("pipeline \"{}\" has no revision {}", declared->name, number));

    auto info = std::make_shared<TargetInfo>();
    info->spec = spec_of_revision(*declared, revision->settings);
    info->provider = *std::move(provider);
    if (info->provider.pool) {
        Result<std::vector<ProviderSpec>> all = list_providers(**session);
        if (!all) return all.error();
        for (ProviderSpec& p : *all) {
            if (p.pool == info->provider.pool && p.name != info->provider.name) info->peers.push_back(std::move(p));
        }
    }
    info->revision = *revision;
    Result<std::unique_ptr<Chunker>> chunker = make_chunker(chunk_settings(revision->settings));
    if (!chunker) return chunker.error();
    info->chunker = *std::move(chunker);
    Result<std::shared_ptr<const TargetInfo>> done = guarded([&]() -> Result<std::shared_ptr<const TargetInfo>> {
        Transaction tx = (*session)->begin(TxMode::read_only);
        Result<SourceShape> source = inspect_source(tx, info->spec);
        if (!source) return source.error();
        Result<VectorExtension> vectors = find_vector_extension(tx);
        if (!vectors) return vectors.error();
        info->source = *std::move(source);
        info->vectors = *std::move(vectors);
        return std::shared_ptr<const TargetInfo>(info);
    });
    return done;
}

}  // namespace homeostat
