// What is asked of a server that could not be connected to gives nothing away: whoever stands there in its place learns no
// secret.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>
#include <thread>

#include "store/pg/reach.hpp"
#include "tests/kit/cluster.hpp"

namespace homeostat {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Speaks as a server without TLS that wants passwords in clear, and notes all it is sent.
class Impostor {
public:
    Impostor() {
        sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
        ::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address);
        ::listen(listener_, 8);
        socklen_t size = sizeof address;
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
        port_ = ntohs(address.sin_port);
        thread_ = std::jthread([this] {
            for (int peer = 0; (peer = ::accept(listener_, nullptr, nullptr)) >= 0; ::close(peer)) answer(peer);
        });
    }
    ~Impostor() { stop(); }
    Impostor(const Impostor&) = delete;
    Impostor& operator=(const Impostor&) = delete;

    std::string heard() {
        stop();
        return heard_;
    }
    int port() const noexcept { return port_; }

private:
    void answer(int peer) {
        std::array<char, 1024> buffer{};
        for (ssize_t n = 0; (n = ::recv(peer, buffer.data(), buffer.size(), 0)) > 0;) {
            const std::string_view said(buffer.data(), static_cast<std::size_t>(n));
            heard_ += said;
            // A request for TLS has eight bytes; else it is who connects, or a password.
            const std::string_view reply = n == 8 ? std::string_view("N", 1) : std::string_view("R\0\0\0\x08\0\0\0\x03", 9);
            ::send(peer, reply.data(), reply.size(), MSG_NOSIGNAL);
            if (said.front() == 'p') return;
        }
    }
    void stop() {
        if (!thread_.joinable()) return;
        ::shutdown(listener_, SHUT_RDWR);
        thread_.join();
        ::close(listener_);
    }

    int listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
    int port_ = 0;
    std::string heard_;
    std::jthread thread_;
};

TEST(Reach, AServerWithoutTheTlsThatIsAskedForLearnsNothing) {
    Impostor impostor;
    EXPECT_EQ(reach_of("host=127.0.0.1 port=" + std::to_string(impostor.port()) +
                       " user=the_user dbname=the_database password=the_password sslmode=require"),
              Reach::other_tls);
    const std::string heard = impostor.heard();
    EXPECT_THAT(heard, HasSubstr("homeostat_nobody"));
    for (const char* secret : {"the_password", "the_user", "the_database"}) EXPECT_THAT(heard, Not(HasSubstr(secret)));
}

TEST(Reach, TellsWhatIsThere) {
    kit::Database db(kit::Schema::empty);
    EXPECT_EQ(reach_of(db.url("nobody_of_that_name")), Reach::refusing);
    EXPECT_EQ(reach_of("host=/nowhere port=1"), Reach::silent);
}

}  // namespace
}  // namespace homeostat
