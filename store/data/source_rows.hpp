// Rows of a source that the reader's login has read (Transaction::source), as a relation of parameters: what a statement over our
// own tables compares with where it may not name the source itself.
//
// Values travel as texts and are of their types again there. They are not older than whatever the transaction had read before
// they were read; beside a read_snapshot they are of the same snapshot. Throws StoreFailure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "store/data/drift.hpp"
#include "store/data/relation.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

// What beside the key's spelling is read: reading it may mean reading the text.
struct WantedOfRows {
    bool hash = true;
    bool metadata = true;
};

class SourceRows {
public:
    // One for each key, in their order.
    static SourceRows of_keys(Transaction& tx, const SourceShape& source, const std::vector<Key>& keys, WantedOfRows wanted = {});
    // Those of a range; `range` is a condition on s with `bounds` as its parameters.
    static SourceRows of_range(Transaction& tx, const SourceShape& source, const std::string& range, const Params& bounds,
                               bool content);

    std::size_t size() const noexcept { return static_cast<std::size_t>(rows_.size()); }
    bool present(std::size_t i) const { return rows_.boolean(static_cast<int>(i), 0); }
    std::optional<std::string> version(std::size_t i) const { return rows_.maybe(static_cast<int>(i), 1); }
    std::string_view hash(std::size_t i) const { return rows_.view(static_cast<int>(i), 2); }  // hexadecimal

    // One column of the key, as the source spells it.
    std::string key(std::size_t i, std::size_t column) const {
        return rows_.text(static_cast<int>(i), 3 + static_cast<int>(column));
    }

    // "(SELECT …)", with a row for each: i (its number, from 1), present, homeostat_version, homeostat_hash, k1, k2, …, m1, m2, …
    // Its parameters begin with number `first`; add_to adds them.
    std::string relation(std::size_t first) const;
    Params& add_to(Params& params) const;
    std::size_t parameters() const noexcept { return 3 + shape_.key.size() + (wanted_.metadata ? shape_.metadata.size() : 0); }
    // The source as seen through that relation, called s: its version and content hash are columns.
    const SourceShape& shape() const noexcept { return shape_; }
    static constexpr std::string_view kHash = "s.homeostat_hash";

private:
    SourceRows(const SourceShape& source, Rows rows, WantedOfRows wanted);
    SourceShape shape_;
    Rows rows_;
    WantedOfRows wanted_;
};

// Of each key, whether the source has a row.
std::vector<bool> in_source(Transaction& tx, const SourceShape& source, const std::vector<Key>& keys);

}  // namespace homeostat
