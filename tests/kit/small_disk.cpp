#include "tests/kit/small_disk.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <vector>

#include "tests/kit/pg_programs.hpp"

namespace homeostat::kit {

bool SmallDisk::prepare() {
    return geteuid() == 0 && ::unshare(CLONE_NEWNS) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

std::unique_ptr<SmallDisk> SmallDisk::mount(const std::string& folder, int mebibytes) {
    std::filesystem::create_directories(folder);
    const std::string options = "size=" + std::to_string(mebibytes) + "m";
    if (::mount("tmpfs", folder.c_str(), "tmpfs", 0, options.c_str()) != 0) return nullptr;
    std::unique_ptr<SmallDisk> disk(new SmallDisk(folder));
    give_to_postgres(folder);
    return disk;
}

SmallDisk::~SmallDisk() { ::umount2(folder_.c_str(), MNT_DETACH); }

void SmallDisk::fill() {
    const int fd = ::open((folder_ + "/ballast").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return;
    const std::vector<char> block(1 << 20, 'x');
    ::lseek(fd, 0, SEEK_END);
    for (std::size_t size = block.size(); size >= 512;) {
        if (::write(fd, block.data(), size) <= 0) size /= 2;
    }
    ::close(fd);
}

void SmallDisk::free() { ::unlink((folder_ + "/ballast").c_str()); }

}  // namespace homeostat::kit
