// Writing what a manifest declares, so that applying it again changes nothing at all.
#include <fmt/core.h>

#include <algorithm>

#include "store/control/declared_columns.hpp"
#include "store/control/resources.hpp"

namespace homeostat {

namespace {

struct Column {
    std::string_view name;
    std::string_view type;
};

template <class Spec>
std::vector<Column> columns_of(std::span<const DeclaredColumn<Spec>> declared) {
    std::vector<Column> out;
    for (const auto& c : declared) out.push_back({c.name, c.type});
    return out;
}

std::span<const Column> columns_of(ResourceKind kind) {
    static const std::vector<Column> kPipeline = columns_of(pipeline_columns());
    static const std::vector<Column> kProvider = columns_of(provider_columns());
    static const std::vector<Column> kTargetView = columns_of(target_view_columns());
    switch (kind) {
        case ResourceKind::pipeline: return kPipeline;
        case ResourceKind::target_view: return kTargetView;
        case ResourceKind::provider: break;
    }
    return kProvider;
}

struct Table {
    std::string_view kind;  // as messages say it
    std::string_view name;
    std::string_view living;  // which rows a name means
};

Table table_of(ResourceKind kind) {
    if (kind == ResourceKind::pipeline) return {"pipeline", "homeostat.pipeline", "name = $1 AND deletion_requested_at IS NULL"};
    if (kind == ResourceKind::target_view)
        return {"target view", "homeostat.target_view", "name = $1 AND deletion_requested_at IS NULL"};
    return {"provider", "homeostat.provider", "name = $1"};
}

Status check_columns(const DeclaredObject& object) {
    const auto known = declared_columns(object.kind);
    for (const auto& [name, value] : object.columns) {
        if (std::find(known.begin(), known.end(), name) != known.end()) continue;
        return invalid(fmt::format("{} \"{}\": \"{}\" cannot be declared{}", table_of(object.kind).kind, object.name, name,
                                   did_you_mean(name, known)));
    }
    return {};
}

const std::optional<std::string>* given_value(const DeclaredObject& object, std::string_view column) {
    for (const auto& [name, value] : object.columns) {
        if (name == column && value) return &value;
    }
    return nullptr;
}

void insert_row(Transaction& tx, const DeclaredObject& object) {
    Params params = Params::of(object.name);
    std::string names = "name";
    std::string values = "$1";
    for (const Column& c : columns_of(object.kind)) {
        const auto* value = given_value(object, c.name);
        if (value == nullptr) continue;
        params.add(**value);
        names += fmt::format(", {}", c.name);
        values += fmt::format(", ${}::{}", params.values().size(), c.type);
    }
    const Table table = table_of(object.kind);
    tx.exec({fmt::format("insert_{}", table.kind), fmt::format("INSERT INTO {} ({}) VALUES ({})", table.name, names, values)},
            params);
}

// Sets every declared column and says whether the row is then another one. Where it is not, the row is put back untouched, so
// that applying the same thing again writes nothing and wakes nobody.
bool update_row(Transaction& tx, const DeclaredObject& object, std::string_view uid, const std::string& before) {
    Params params = Params::of(uid, before);
    std::string sets;
    for (const Column& c : columns_of(object.kind)) {
        sets += fmt::format("{}{} = ", sets.empty() ? "" : ", ", c.name);
        if (const auto* value = given_value(object, c.name)) {
            params.add(**value);
            sets += fmt::format("${}::{}", params.values().size(), c.type);
        } else {
            sets += "DEFAULT";
        }
    }
    const Table table = table_of(object.kind);
    tx.exec("SAVEPOINT apply_object");
    const Rows rows = tx.exec(
        {fmt::format("update_{}", table.kind), fmt::format("UPDATE {} t SET {} WHERE uid = $1::bigint "
                                                           "RETURNING to_jsonb(t) - 'updated_at' IS DISTINCT FROM $2::jsonb",
                                                           table.name, sets)},
        params);
    const bool changed = rows.boolean(0, 0);
    tx.exec(changed ? "RELEASE SAVEPOINT apply_object" : "ROLLBACK TO SAVEPOINT apply_object");
    return changed;
}

Result<ApplyOutcome> apply_row(Transaction& tx, const DeclaredObject& object) {
    const Table table = table_of(object.kind);
    // Relations are named here by a person, who means the schemas that psql would look in; everything else runs on a fixed path.
    tx.exec("SET LOCAL search_path TO DEFAULT");
    const Rows before =
        tx.exec({fmt::format("lock_{}", table.kind),
                 fmt::format("SELECT uid, to_jsonb(t) - 'updated_at' FROM {} t WHERE {} FOR UPDATE", table.name, table.living)},
                Params::of(object.name));
    if (before.empty()) {
        insert_row(tx, object);
        return ApplyOutcome::created;
    }
    return update_row(tx, object, before.view(0, 0), before.text(0, 1)) ? ApplyOutcome::configured : ApplyOutcome::unchanged;
}

}  // namespace

std::vector<std::string_view> declared_columns(ResourceKind kind) {
    std::vector<std::string_view> names;
    for (const Column& c : columns_of(kind)) names.push_back(c.name);
    return names;
}

Result<ApplyOutcome> apply_object(Transaction& tx, const DeclaredObject& object) {
    if (auto good = check_columns(object); !good) return std::move(good).error();
    auto outcome = guarded([&] { return apply_row(tx, object); });
    if (outcome) return outcome;
    Error error = std::move(outcome).error();
    // Whatever a check refuses (a column that is not there, a value of the wrong type) is the declaration's fault here.
    if (error.cls == ErrorClass::db_permanent && error.origin == Origin::user) error.cls = ErrorClass::invalid;
    return error;
}

}  // namespace homeostat
