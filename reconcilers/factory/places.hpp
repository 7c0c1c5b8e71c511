// Places in the executor for batches that whoever plans them claims in the same transaction; given back where they are not used.
// Movable; belongs to one thread at a time, give_back from any.
#pragma once

#include <string>
#include <utility>

namespace homeostat {

class Factory;

class Places {
public:
    Places() = default;
    Places(Factory& factory, std::string provider, int count)
        : factory_(&factory), provider_(std::move(provider)), count_(count) {}
    Places(Places&& other) noexcept
        : factory_(std::exchange(other.factory_, nullptr)), provider_(std::move(other.provider_)), count_(other.count_) {}
    Places& operator=(Places&& other) noexcept;
    Places(const Places&) = delete;
    Places& operator=(const Places&) = delete;
    ~Places() { give_back(); }
    int count() const noexcept { return factory_ == nullptr ? 0 : count_; }
    void give_back() noexcept;

private:
    Factory* factory_ = nullptr;
    std::string provider_;
    int count_ = 0;
};

}  // namespace homeostat
