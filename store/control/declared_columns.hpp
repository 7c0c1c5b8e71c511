// The columns that people declare, each in one place: of these tables the statements are made that read objects and apply them,
// and the manifests that show them.
//
// A column is added with its member (core/resource.hpp), its row here, its migration, and its field in manifests/schema.json, of
// which manifests, messages and docs/manifests.md follow. One that is named twice, or has a type that is not known, fails the
// build.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/resource.hpp"
#include "store/pg/row_reader.hpp"

namespace homeostat {

// Where a column is kept; what is none of these cannot be declared.
template <class Spec>
using Member =
    std::variant<std::string Spec::*, std::optional<std::string> Spec::*, bool Spec::*, std::int32_t Spec::*,
                 std::int64_t Spec::*, std::optional<std::int32_t> Spec::*, std::uint32_t Spec::*,
                 std::optional<std::uint32_t> Spec::*, std::optional<std::int64_t> Spec::*, std::optional<std::uint64_t> Spec::*,
                 double Spec::*, std::optional<double> Spec::*, Millis Spec::*, std::optional<Millis> Spec::*, StringMap Spec::*,
                 std::vector<std::string> Spec::*, std::vector<CaptureBase> Spec::*>;

template <class Spec>
struct DeclaredColumn {
    std::string_view name;
    std::string_view type;  // as SQL has it: what a value in text form is cast to
    Member<Spec> member;
};

std::span<const DeclaredColumn<PipelineSpec>> pipeline_columns();
std::span<const DeclaredColumn<ProviderSpec>> provider_columns();
std::span<const DeclaredColumn<TargetViewSpec>> target_view_columns();

// "uid, name, generation, …": what read_columns() reads, in its order.
template <class Spec>
std::string selected(std::span<const DeclaredColumn<Spec>> columns);
// All declared ones, and uid, name and generation.
template <class Spec>
Spec read_columns(RowReader& row, std::span<const DeclaredColumn<Spec>> columns);

}  // namespace homeostat
