#include "reconcilers/pipeline/adopting.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <numeric>

#include "core/fault_point.hpp"
#include "reconcilers/chunk/hash.hpp"
#include "reconcilers/factory/targets.hpp"
#include "reconcilers/gateway/plural.hpp"
#include "reconcilers/pipeline/pipeline_pass.hpp"
#include "store/data/adopted_rows.hpp"
#include "store/data/document_ids.hpp"
#include "store/data/vectors.hpp"

namespace homeostat {

namespace {

constexpr std::int64_t kAtOnce = 500;               // documents of a step
constexpr std::int64_t kBytesAtOnce = 16 << 20;     // of their text

class AdoptionSteps {
public:
    AdoptionSteps(Session& session, const AdoptionInto& into, AdoptionRequest& request, const Chunker& chunker,
                  const AdoptedShape& shape, const Context& context)
        : session_(session), into_(into), request_(request), chunker_(chunker), shape_(shape), context_(context) {
        const RevisionSettings& s = into.revision.settings;
        form_ = {request.chunk.has_value(), request.text.has_value(), request.first_chunk, s.dimensions, s.vector_type};
    }

    // Whether there was anything left to look at.
    bool step() {
        std::int64_t limit = kAtOnce;
        if (into_.declared.documents) limit = std::min(limit, *into_.declared.documents - request_.counts.looked_at);
        if (limit <= 0 || !read(limit)) return false;
        if (const Status given = give_ids(session_, into_.revision, documents_); !given) throw StoreFailure(given.error());
        gather();
        write();
        return true;
    }

private:
    bool read(std::int64_t limit) {
        documents_.clear();
        rows_.clear();
        std::vector<Key> keys;
        {
            Transaction tx = session_.begin(TxMode::read_only);
            use_operators(tx, into_.source);
            keys = next_keys(tx, into_.source, request_.cursor, limit);
            if (keys.empty()) return false;
            Result<std::vector<ReadDocument>> read = read_documents(tx, into_.source, into_.revision, keys, kBytesAtOnce);
            if (!read) throw StoreFailure(read.error());
            documents_ = *std::move(read);
            tx.commit();
        }
        // What does not fit is the next step's.
        const auto deferred = std::ranges::find_if(documents_, [](const ReadDocument& d) { return d.deferred; });
        documents_.erase(deferred, documents_.end());
        keys.resize(documents_.size());
        Transaction tx = session_.begin(TxMode::read_only);
        use_operators(tx, shape_.rows);
        rows_ = read_adopted(tx, shape_, into_.source, keys);
        tx.commit();
        return true;
    }

    // What belongs together, into one request; it points into what was read.
    void gather() {
        request_of_step_ = {};
        counts_ = {};
        held_.clear();
        for (std::size_t i = 0; i < documents_.size(); ++i) {
            const ReadDocument& d = documents_[i];
            ++counts_.looked_at;
            if (!d.in_source || d.write_token) continue;
            const std::vector<Chunk> chunks = chunker_.chunk(d.content, d.context);
            const AdoptedMatch match = match_document(chunks, rows_[i], form_);
            if (match.left) {
                ++counts_.left[static_cast<std::size_t>(*match.left)];
            } else {
                add(d, chunks, match);
            }
        }
    }

    void add(const ReadDocument& d, const std::vector<Chunk>& chunks, const AdoptedMatch& match) {
        WriteRequest& w = request_of_step_;
        for (std::size_t n = 0; n < chunks.size(); ++n) {
            WriteChunk c;
            c.document = w.documents.size();
            c.number = static_cast<std::int32_t>(n);
            c.start = static_cast<std::int64_t>(chunks[n].start);
            c.end = static_cast<std::int64_t>(chunks[n].end);
            c.hash = held_.emplace_back(chunk_hash(chunks[n].embedded_text()));
            if (!chunks[n].context.empty()) c.context = held_.emplace_back(chunks[n].context);
            c.text = chunks[n].text;
            c.vector = match.vectors[n];
            w.chunks.push_back(c);
        }
        w.documents.push_back({&d, static_cast<std::int32_t>(chunks.size())});
    }

    void write() {
        Transaction tx = fenced_transaction(session_, pipeline_lease(into_.declared.uid), context_);
        if (!request_of_step_.documents.empty()) {
            request_of_step_.run_id = into_.run_id;
            request_of_step_.token = fresh_write_token(tx);
            Result<WriteOutcome> written = write_documents(tx, into_.source, into_.revision, into_.vectors, request_of_step_);
            if (!written) throw StoreFailure(written.error());
            counts_.documents = written->written;
            counts_.chunks = counts_.used = written->chunks;
        }
        move_adoption(tx, request_.id, documents_.back().key, counts_);
        HOMEOSTAT_REACH("adopt.before_step_commit");
        tx.commit();
        HOMEOSTAT_REACH("adopt.after_step");
        request_.cursor = documents_.back().key;
        AdoptionCounts& all = request_.counts;
        all.looked_at += counts_.looked_at;
        all.documents += counts_.documents;
        all.chunks += counts_.chunks;
        all.used += counts_.used;
        for (std::size_t i = 0; i < kLeftBehind; ++i) all.left[i] += counts_.left[i];
    }

    Session& session_;
    const AdoptionInto& into_;
    AdoptionRequest& request_;
    const Chunker& chunker_;
    const AdoptedShape& shape_;
    const Context& context_;
    AdoptedForm form_;
    std::vector<ReadDocument> documents_;
    std::vector<std::vector<AdoptedRow>> rows_;
    WriteRequest request_of_step_;
    AdoptionCounts counts_;
    std::deque<std::string> held_;  // hashes and contexts that the request points at
};

}  // namespace

bool refuses_adoption(const Error& error) noexcept {
    return !error.retryable() && error.cls != ErrorClass::fenced && error.cls != ErrorClass::cancelled;
}

Result<bool> adopt_some(Session& session, const Clock& clock, const AdoptionInto& into, AdoptionRequest& request,
                        const Context& context) {
    const Result<std::unique_ptr<Chunker>> chunker = make_chunker(chunk_settings(into.revision.settings));
    if (!chunker) return chunker.error();
    return guarded([&]() -> Result<bool> {
        Result<AdoptedShape> shape = [&] {
            Transaction tx = session.begin(TxMode::read_only);
            return inspect_adopted(tx, into.declared,
                                   {request.relation, request.key, request.vector, request.chunk, request.text});
        }();
        if (!shape) return shape.error();
        AdoptionSteps steps(session, into, request, **chunker, *shape, context);
        while (!context.stop.stop_requested() && clock.steady_now() < context.deadline) {
            if (!steps.step()) return true;
        }
        return false;
    });
}

std::string adoption_text(const AdoptionRequest& r) {
    const AdoptionCounts& n = r.counts;
    std::string out =
        fmt::format("adopted {} ({}) of {}", plural(n.documents, "document"), plural(n.chunks, "chunk"), r.relation);
    const std::int64_t left = std::accumulate(n.left.begin(), n.left.end(), std::int64_t{0});
    out += left == 0 ? "; none is left to be embedded" : fmt::format("; {} left to be embedded: {}", left, left_text(n.left));
    if (r.vectors > n.used) out += fmt::format("; {} of {} there not used", r.vectors - n.used, plural(r.vectors, "vector"));
    return out;
}

}  // namespace homeostat
