#include "store/data/watched_columns.hpp"

namespace homeostat {

namespace {

std::vector<std::string> placeholders(const std::string& text) {
    std::vector<std::string> out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if ((text[i] == '{' || text[i] == '}') && i + 1 < text.size() && text[i + 1] == text[i]) {
            ++i;
        } else if (text[i] == '{') {
            const std::size_t end = text.find('}', i);
            out.push_back(text.substr(i + 1, end - i - 1));
            i = end;
        }
    }
    return out;
}

}  // namespace

std::vector<std::string> watched_columns(const PipelineSpec& spec) {
    std::vector<std::string> names = spec.content;
    if (spec.content_template) names = placeholders(*spec.content_template);
    if (spec.chunk_context) {
        for (std::string& name : placeholders(*spec.chunk_context)) names.push_back(std::move(name));
    }
    names.insert(names.end(), spec.metadata.begin(), spec.metadata.end());
    if (spec.version_column) names.push_back(*spec.version_column);
    return names;
}

}  // namespace homeostat
