// `homeostat completion SHELL` and `homeostat man`: what distributions and people install beside the program.
#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "controller/cli/completion.hpp"
#include "controller/cli/verbs.hpp"

namespace homeostat {

namespace {

// The program itself knows what may follow; a shell only asks. Words are handed over as the shell has split them.
constexpr std::string_view kBash = R"(# bash completion for homeostat; for this shell: source <(homeostat completion bash)
_homeostat() {
    local line cut='' i n=0
    local -a words=("${COMP_WORDS[0]}")
    # Bash splits words at = and :, which are within words here, and replaces what comes after the last of them.
    for ((i = 1; i <= COMP_CWORD; i++)); do
        if ((n > 0)) && [[ ${COMP_WORDS[i]} == [=:]* || ${words[n]} == *[=:] ]]; then
            words[n]+=${COMP_WORDS[i]}
        else
            words[++n]=${COMP_WORDS[i]}
        fi
    done
    if [[ ${words[n]} == *[=:]* ]]; then cut=${words[n]%"${words[n]##*[=:]}"}; fi
    COMPREPLY=()
    while IFS= read -r line; do
        printf -v line %q "${line#"$cut"}"
        COMPREPLY+=("$line")
    done < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=/] ]]; then compopt -o nospace 2>/dev/null; fi
    return 0
}
complete -o bashdefault -o default -F _homeostat homeostat
)";
constexpr std::string_view kZsh = R"(#compdef homeostat
# zsh completion for homeostat; for this shell: source <(homeostat completion zsh)
_homeostat() {
    local -a found open
    found=("${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    open=(${(M)found:#*[=/]})
    found=(${found:#*[=/]})
    if (( ${#found} + ${#open} == 0 )); then _files; return; fi
    (( ${#open} )) && compadd -S '' -- "${open[@]}"
    (( ${#found} )) && compadd -- "${found[@]}"
}
if [[ "${funcstack[1]}" = "_homeostat" ]]; then _homeostat "$@"; else compdef _homeostat homeostat; fi
)";
constexpr std::string_view kFish = R"(# fish completion for homeostat; for this shell: homeostat completion fish | source
function __homeostat_complete
    set -l words (commandline -opc)
    # In quotes, as an empty word is one too.
    set -l typed (commandline -ct)
    set -l program $words[1]
    set -e words[1]
    $program __complete $words "$typed" 2>/dev/null
end
complete -c homeostat -a '(__homeostat_complete)'
)";

constexpr std::array<std::string_view, 3> kShells{"bash", "zsh", "fish"};
constexpr std::array<std::string_view, 3> kScripts{kBash, kZsh, kFish};

}  // namespace

VerbBody configure_completion(Command& command, CliContext& context) {
    auto shell = std::make_shared<std::string>();
    command.option({.names = "shell", .value = "SHELL", .help = "bash, zsh or fish", .required = true}, *shell);
    command.footer(
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

VerbBody configure_man(Command& command, CliContext& context) {
    command.footer("Example: homeostat man | man -l -");
    return [command, &context] {
        write_manual(command.program(), context.streams.out);
        return kExitOk;
    };
}

}  // namespace homeostat
