# Writes OUTPUT, a .cpp that holds the files of controller/http/dashboard as a table. FILES is a |-separated list.
include("${CMAKE_CURRENT_LIST_DIR}/EmbedText.cmake")
string(REPLACE "|" ";" FILES "${FILES}")
list(SORT FILES)
list(LENGTH FILES count)
set(rows "")
foreach(file IN LISTS FILES)
  get_filename_component(name "${file}" NAME)
  embed_text(text "${file}")
  string(APPEND rows "    {\"${name}\",\n${text}},\n")
endforeach()
file(WRITE "${OUTPUT}" "// Written by cmake/EmbedDashboard.cmake from controller/http/dashboard.
#include \"controller/http/dashboard_embedded.hpp\"

#include <array>

#if defined(__clang__)
#pragma clang diagnostic ignored \"-Woverlength-strings\"
#endif

namespace homeostat {
namespace {
constexpr std::array<EmbeddedFile, ${count}> kFiles{{
${rows}}};
}  // namespace
std::span<const EmbeddedFile> embedded_dashboard() { return kFiles; }
}  // namespace homeostat
")
