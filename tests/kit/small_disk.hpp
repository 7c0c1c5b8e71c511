// A file system so small that it can be filled: a tmpfs in a mount namespace of this process, which goes away with it. Only root
// can have one. Objects belong to one thread at a time.
#pragma once

#include <memory>
#include <string>

namespace homeostat::kit {

class SmallDisk {
public:
    // Gives this process mounts of its own; before any thread is made, and before a cluster is started that is to see the disk.
    // False where that is not allowed: then there are no small disks.
    static bool prepare();
    // Nothing where it cannot be mounted.
    static std::unique_ptr<SmallDisk> mount(const std::string& folder, int mebibytes);
    ~SmallDisk();
    SmallDisk(const SmallDisk&) = delete;
    SmallDisk& operator=(const SmallDisk&) = delete;

    const std::string& folder() const noexcept { return folder_; }  // belongs to who runs PostgreSQL
    // Takes all the room there is, until free().
    void fill();
    void free();

private:
    explicit SmallDisk(std::string folder) : folder_(std::move(folder)) {}
    std::string folder_;
};

}  // namespace homeostat::kit
