// What may be declared: manifests/schema.json, and the sentences for what does not fit it. The schema is the only list of fields;
// the columns of the database follow from its names (chunkSize is chunk_size). Safe from any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "controller/config/config_yaml.hpp"
#include "store/control/resources.hpp"

namespace homeostat {

std::string_view manifest_schema_text();

// Everything wrong with one document, a sentence each; empty where nothing is.
std::vector<std::string> check_manifest(const YamlNode& document, std::string_view file);

// A document that check_manifest() found nothing wrong with, as columns and their values.
DeclaredObject declared_object(const YamlNode& document);

// One field of `spec` as the schema knows it, in the schema's order.
struct ManifestField {
    std::string name;  // as in a manifest
    std::string column;  // as in the database
    std::string type;  // text, number, flag, duration, columns, map: what declared_object() makes of it
    std::string fallback;  // default as JSON; "" where there is none
    std::string description;
};
std::vector<ManifestField> manifest_fields(ResourceKind kind);
// Its name, for that of a column.
std::string field_of_column(std::string_view column);

}  // namespace homeostat
