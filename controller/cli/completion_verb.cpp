// `homeostat completion SHELL` and `homeostat man`: what distributions and people install beside the program.
#include <fmt/core.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <array>

#include "controller/cli/completion.hpp"
#include "controller/cli/verbs.hpp"

namespace homeostat {

namespace {

// The program itself knows what may follow; a shell only asks. Words are handed over as the shell has split them.
constexpr std::string_view kBash = R"(# bash completion for homeostat; for this shell: source <(homeostat completion bash)
_homeostat() {
    local line
    COMPREPLY=()
    # A word may have = or : in it, at which bash splits.
    local words cword cur
    if declare -F _get_comp_words_by_ref >/dev/null; then
        _get_comp_words_by_ref -n "=:" words cword cur
    else
        words=("${COMP_WORDS[@]}") cword=$COMP_CWORD cur=${COMP_WORDS[COMP_CWORD]}
    fi
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <("${words[0]}" __complete "${words[@]:1:cword}" 2>/dev/null)
    if declare -F __ltrim_colon_completions >/dev/null; then __ltrim_colon_completions "$cur"; fi
}
complete -o bashdefault -o default -F _homeostat homeostat
)";
constexpr std::string_view kZsh = R"(#compdef homeostat
# zsh completion for homeostat; for this shell: source <(homeostat completion zsh)
_homeostat() {
    local -a found
    found=("${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then compadd -- "${found[@]}"; else _files; fi
}
if [[ "${funcstack[1]}" = "_homeostat" ]]; then _homeostat "$@"; else compdef _homeostat homeostat; fi
)";
constexpr std::string_view kFish = R"(# fish completion for homeostat; for this shell: homeostat completion fish | source
function __homeostat_complete
    set -l words (commandline -opc) (commandline -ct)
    $words[1] __complete $words[2..-1] 2>/dev/null
end
complete -c homeostat -a '(__homeostat_complete)'
)";

constexpr std::array<std::string_view, 3> kShells{"bash", "zsh", "fish"};
constexpr std::array<std::string_view, 3> kScripts{kBash, kZsh, kFish};

}  // namespace

VerbBody configure_completion(CLI::App& app, CliContext& context) {
    auto shell = std::make_shared<std::string>();
    app.add_option("shell", *shell, "bash, zsh or fish")->type_name("SHELL")->required();
    app.footer(
        "bash: source <(homeostat completion bash)\n"
        "zsh:  source <(homeostat completion zsh)\n"
        "fish: homeostat completion fish | source");
    return [&context, shell] {
        const auto found = std::find(kShells.begin(), kShells.end(), *shell);
        if (found == kShells.end()) {
            return context.fail(invalid(fmt::format("there is no completion for \"{}\"; there is for bash, zsh and fish{}",
                                                    *shell, did_you_mean(*shell, kShells))));
        }
        context.streams.out << kScripts[static_cast<std::size_t>(found - kShells.begin())];
        return kExitOk;
    };
}

VerbBody configure_man(CLI::App& app, CliContext& context) {
    app.footer("Example: homeostat man | man -l -");
    return [&app, &context] {
        write_manual(*app.get_parent(), context.streams.out);
        return kExitOk;
    };
}

}  // namespace homeostat
