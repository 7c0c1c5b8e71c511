// Declarations made from the JSON schema of manifests: any value that the schema allows, its bounds before all others, applied in
// any order. Each is refused with a sentence, or converges, or a condition says why it cannot; no replica ever dies of one.
#pragma once

#include <string>
#include <vector>

#include "tests/chaos/chaos_world.hpp"

namespace homeostat::chaos {

class Declarations {
public:
    explicit Declarations(World& world);
    // Applies, changes and deletes for as long as the world's options say. What was refused without a sentence, or broke.
    std::vector<std::string> play();
    // Nothing is declared any more: waits until each pipeline is settled; which is not at the end of the world's patience.
    std::vector<std::string> settle();
    int applied() const noexcept { return applied_; }
    int refused() const noexcept { return refused_; }

private:
    std::string manifest(const std::string& name);
    void apply(const std::string& name);

    World& world_;
    Dice dice_;
    int applied_ = 0;
    int refused_ = 0;
    std::vector<std::string> wrong_;
};

}  // namespace homeostat::chaos
