// What a batch of documents needs: its chunks, compared with those that are stored, and turned into the texts to embed and the
// rows to write. Pure; one call a batch, on a CPU thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "reconcilers/chunk/chunker.hpp"
#include "reconcilers/embed/embedder.hpp"
#include "reconcilers/gateway/gateway.hpp"
#include "store/control/batches.hpp"
#include "store/control/dead_letters.hpp"
#include "store/data/vectors.hpp"

namespace homeostat {

// The chunks of a document, views into its content; or why there are none, which makes it a dead letter.
struct CutDocument {
    std::vector<Chunk> chunks;
    std::optional<Error> refused;
};
// One a document, in order; nothing of those that were not read.
std::vector<CutDocument> cut_documents(const std::vector<ReadDocument>& documents, const Chunker& chunker);
// Whether there is anything to cut.
inline bool is_cut(const ReadDocument& d) noexcept { return d.in_source && !d.deferred; }
std::uint64_t bytes_of(const std::vector<ReadDocument>& documents);

// Owns everything its WriteRequest points into, so it is neither copied nor moved while that is in use.
class HealWork {
public:
    // `cut`: of these documents, where they lie now. `rebuild`: no stored chunk row is trusted to be as it should be; sound
    // vectors are still reused by hash.
    HealWork(std::vector<ReadDocument> documents, const std::vector<CutDocument>& cut, bool rebuild);
    HealWork(const HealWork&) = delete;
    HealWork& operator=(const HealWork&) = delete;

    // Each distinct text once, whatever chunks share it.
    const std::vector<std::string>& texts() const noexcept { return texts_; }
    // Vectors in the order of texts(); points the request's chunks at them. A document with a refused text leaves the request and
    // is a dead letter instead: what is stored of it stays as it is.
    void attach(Embedded embedded);
    WriteRequest& request() noexcept { return request_; }
    // After attach(): documents whose keys are not among these leave the work, with all that was to become of them.
    void keep_named(const std::vector<Key>& keys);

    // What did not fit the budget, as batches of at most so many bytes each: they are read side by side, and none in vain.
    std::vector<std::vector<Key>> deferred(std::int64_t bytes) const;
    std::int32_t gone() const noexcept { return gone_; }  // no longer in the source; a sweep's business
    const std::vector<ReadDocument>& documents() const noexcept { return documents_; }
    const std::vector<DeadLetter>& dead() const noexcept { return dead_; }  // attempts and trace are the caller's

private:
    void add_document(const ReadDocument& document, const std::vector<Chunk>& chunks, bool rebuild);
    void bury(const ReadDocument& document, const Error& reason);
    void bury(const std::vector<RefusedText>& refused);
    void leave_out(const std::set<std::size_t>& documents);  // of the request
    std::size_t text_index(const std::string& hash, std::string text);

    std::vector<ReadDocument> documents_;
    std::vector<std::string> texts_;
    std::vector<std::unique_ptr<std::string>> held_;  // hashes and contexts the request points at
    std::vector<std::pair<std::size_t, std::size_t>> wants_;  // request chunk, text
    std::unordered_map<std::string, std::size_t> by_hash_;
    Embeddings vectors_;
    WriteRequest request_;
    std::vector<DeadLetter> dead_;
    std::int32_t gone_ = 0;
};

}  // namespace homeostat
