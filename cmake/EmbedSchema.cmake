# Writes OUTPUT, a .cpp that holds manifests/schema.json. FILES is that one file.
include("${CMAKE_CURRENT_LIST_DIR}/EmbedText.cmake")
embed_text(text "${FILES}")
file(WRITE "${OUTPUT}" "// Written by cmake/EmbedSchema.cmake from manifests/schema.json.
#include \"controller/cli/manifest/manifest_schema.hpp\"

namespace homeostat {
std::string_view manifest_schema_text() {
    return ${text};
}
}  // namespace homeostat
")
