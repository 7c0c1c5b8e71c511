// Whose fault is it that a request failed: a text's, the provider's, or the declaration's?
//
// No status tells: endpoints answer 500 to a text that they cannot compute, and 400 to everything while they load a model. So
// texts are never condemned by what is said of them alone. A text is at fault where it was refused, then another text that is
// known to be good was taken, and then this one was refused again, by itself. Where the good text is refused too, no document is
// at fault. Pure.
#pragma once

#include "core/error.hpp"

namespace homeostat {

// The fault is a text's own, or that of its company.
bool of_content(ErrorClass c) noexcept;

// Whether one of the texts may be why it failed. `answered`: the provider has answered under this declaration, so that
// credential, address and model are right, or were.
bool may_be_a_text(const Error& error, bool answered) noexcept;

// The answer is of another shape than declared, whatever the text: to be asked again costs money and changes nothing.
bool breaks_contract(const Error& error) noexcept;

// The answer does not say which vector belongs to which text, as it may to fewer of them.
bool mixes_up(const Error& error) noexcept;

// Of an error that is told of one: nothing of the run will succeed as things are.
inline constexpr std::string_view kContractBroken = "ContractBroken";

bool same_failure(const Error& a, const Error& b) noexcept;

// What speaks against one text, since it was part of what failed first.
struct Evidence {
    int refusals = 0;  // of requests that held it
    int alone = 0;     // of which it was all there was in it, after a good text was taken
};
// Faults that come at random need more of it than those that always come.
bool enough(const Evidence& evidence, const Error& last) noexcept;

// Of a text that is at fault, whatever class its refusal had.
Error condemned(Error refusal);

// Of a request that failed while the good text failed with `proof`. `retry_in`: how long the provider is left alone, where it is.
Error provider_at_fault(const Error& proof, bool answered, std::optional<std::chrono::milliseconds> retry_in);

}  // namespace homeostat
