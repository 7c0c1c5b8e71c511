// homeostat_exec_program MODE: a program as exec providers run it, that behaves, or misbehaves in one of the ways they meet.
// Asked to cut documents (chunkers), it makes each line a chunk, in the context of the first line.
// Every misbehaviour begins with the documents: the probe's text is answered well, unless the mode begins with "probe-" or a
// second file says so.
#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace {

using Json = nlohmann::json;
constexpr const char* kProbeText = "This is a test.";

std::uint64_t mixed(std::uint64_t x) {
    x ^= x >> 33U;
    x *= 0xff51afd7ed558ccdU;
    return x ^ (x >> 29U);
}

std::vector<double> vector_of(const std::string& text, std::size_t dimensions) {
    std::uint64_t state = 1469598103934665603U;
    for (const char c : text) state = mixed(state + static_cast<unsigned char>(c));
    std::vector<double> out;
    for (std::size_t i = 0; i < dimensions; ++i) {
        state = mixed(state + i + 1);
        out.push_back(static_cast<double>(state % 2001) / 1000.0 - 1.0);
    }
    out[0] += 2;  // never all zero
    return out;
}

Json answer_to(const Json& request) {
    Json vectors = Json::array();
    std::uint64_t tokens = 0;
    for (const auto& text : request["texts"]) {
        vectors.push_back(vector_of(text, request["dimensions"]));
        tokens += text.get_ref<const std::string&>().size() / 4 + 1;
    }
    return {{"id", request["id"]}, {"vectors", vectors}, {"tokens", tokens}};
}

Json lines_of(const std::string& text) {
    Json chunks = Json::array();
    const std::string head = text.substr(0, text.find('\n'));
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        if (text.find_first_not_of(" \t", at) < end) {
            Json chunk{{"start", at}, {"end", end}};
            if (at > 0) chunk["context"] = head;
            chunks.push_back(chunk);
        }
        at = end + 1;
    }
    return chunks;
}

Json cut_of(const Json& request) {
    Json lists = Json::array();
    for (const auto& text : request["documents"]) lists.push_back(lines_of(text));
    return {{"id", request["id"]}, {"chunks", lists}};
}

bool any_says(const Json& request, const std::string& word) {
    for (const auto& text : request["documents"]) {
        if (text.get_ref<const std::string&>().find(word) != std::string::npos) return true;
    }
    return false;
}

void say(const std::string& line) { std::cout << line << std::endl; }  // the end of a line is what the other side waits for
[[noreturn]] void hang() {
    for (;;) pause();
}

// What it was able to do, as an error message that the test reads.
void report(const Json& request, const Json& findings) {
    say(Json{{"id", request["id"]}, {"error", {{"class", "content"}, {"message", findings.dump()}}}}.dump());
}

std::string tried(bool worked) { return worked ? "worked" : strerrorname_np(errno); }

void fork_bomb() {
    for (;;) {
        if (fork() >= 0) continue;
        std::cerr << "no fork: " << strerrorname_np(errno) << std::endl;
        std::_Exit(errno == EPERM ? 7 : 8);
    }
}

Json attempts() {
    Json out;
    out["fork"] = tried(fork() > 0);
    out["setsid"] = tried(setsid() >= 0);
    out["setpgid"] = tried(setpgid(0, 0) == 0);
    out["inet"] = tried(socket(AF_INET, SOCK_STREAM, 0) >= 0);
    out["unix"] = tried(socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
    out["kill all"] = tried(kill(-1, 0) == 0);
    out["kill parent"] = tried(kill(getppid(), 0) == 0);
    out["setuid"] = tried(setuid(0) == 0);
    out["chroot"] = tried(chroot(".") == 0);
    const int outside = open((std::filesystem::temp_directory_path() / "homeostat-escaped").c_str(), O_WRONLY | O_CREAT, 0600);
    out["write outside"] = tried(outside >= 0);
    std::thread([&out] { out["thread"] = "worked"; }).join();
    return out;
}

Json surroundings() {
    Json out;
    std::set<std::string> descriptors;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) descriptors.insert(entry.path().filename());
    // The listing holds itself.
    out["descriptors"] = descriptors.size() - 1;
    Json names = Json::array();
    for (char** e = environ; *e != nullptr; ++e) names.push_back(std::string(*e).substr(0, std::string(*e).find('=')));
    out["environment"] = names;
    const char* named = std::getenv("HOMEOSTAT_TEST_NAMED");
    out["named"] = named == nullptr ? "" : named;
    out["folder"] = std::filesystem::current_path().string();
    out["empty"] = std::filesystem::is_empty(".");
    return out;
}

Json big_file() {
    Json out;
    const int fd = open("big", O_WRONLY | O_CREAT, 0600);
    const std::string piece(1U << 20U, 'x');
    std::size_t written = 0;
    signal(SIGXFSZ, SIG_IGN);
    for (ssize_t n = 0; written < (64U << 20U) && (n = write(fd, piece.data(), piece.size())) > 0;) written += n;
    out["written"] = written;
    return out;
}

void eat_memory() {
    std::vector<std::string> all;
    for (;;) all.emplace_back(16U << 20U, 'x');
}

using Mode = std::function<void(const Json&)>;

Json changed(const Json& request, const std::function<void(Json&)>& change) {
    Json answer = answer_to(request);
    change(answer);
    return answer;
}

const std::map<std::string, Mode>& modes() {
    static const std::map<std::string, Mode> table{
        {"good", [](const Json& r) { say(answer_to(r).dump()); }},
        {"hang", [](const Json&) { hang(); }},
        {"deaf",
         [](const Json&) {
             signal(SIGTERM, SIG_IGN);
             signal(SIGINT, SIG_IGN);
             hang();
         }},
        {"fork", [](const Json&) { fork_bomb(); }},
        {"memory", [](const Json&) { eat_memory(); }},
        {"garbage", [](const Json&) { say("Loading the model \x07 \xff 42%"); }},
        {"half",
         [](const Json& r) {
             std::cout << answer_to(r).dump().substr(0, 20) << std::flush;
             std::_Exit(0);
         }},
        {"count", [](const Json& r) { say(changed(r, [](Json& a) { a["vectors"].erase(0); }).dump()); }},
        {"width", [](const Json& r) { say(changed(r, [](Json& a) { a["vectors"][0].push_back(1.0); }).dump()); }},
        {"zero",
         [](const Json& r) {
             say(changed(r, [](Json& a) {
                     for (auto& x : a["vectors"][0]) x = 0;
                 }).dump());
         }},
        {"other-id", [](const Json& r) { say(changed(r, [](Json& a) { a["id"] = 4711; }).dump()); }},
        {"nan",
         [](const Json& r) {
             std::string line = answer_to(r).dump();
             line.replace(line.find("[[") + 2, 1, "NaN,");
             say(line);
         }},
        {"two-lines", [](const Json& r) { std::cout << answer_to(r).dump() + "\nand one more\n"
                                                    << std::flush; }},
        {"endless",
         [](const Json&) {
             for (;;) std::cout << std::string(65536, 'x') << std::flush;
         }},
        {"crash",
         [](const Json&) {
             std::cerr << "the secret is " << (std::getenv("HOMEOSTAT_TEST_NAMED") ? std::getenv("HOMEOSTAT_TEST_NAMED") : "-")
                       << std::endl;
             std::abort();
         }},
        {"talkative",
         [](const Json& r) {
             for (int i = 0; i < 2000; ++i) std::cerr << std::string(1000, 'e') << '\n';
             say(answer_to(r).dump());
         }},
        {"refuse",
         [](const Json& r) {
             const std::string cls = r["texts"][0];
             say(Json{{"id", r["id"]}, {"error", {{"class", cls}, {"message", "no \"" + cls + "\""}, {"retry_after_ms", 2500}}}}
                     .dump());
         }},
        {"attempts", [](const Json& r) { report(r, attempts()); }},
        {"surroundings", [](const Json& r) { report(r, surroundings()); }},
        {"big-file", [](const Json& r) { report(r, big_file()); }},
        {"prefix", [](const Json& r) { report(r, r); }},
        // Hangs only where the text says so.
        {"moody",
         [](const Json& r) {
             if (r["texts"][0] == "hang") hang();
             if (r["texts"][0] == "die") std::_Exit(3);
             say(answer_to(r).dump());
         }},
    };
    return table;
}

Mode with_list(const std::function<void(Json&)>& change) {
    return [change](const Json& r) {
        Json answer = cut_of(r);
        change(answer["chunks"][0]);
        say(answer.dump());
    };
}

void cut_or_fail(const Json& r) {
    if (any_says(r, "hang")) hang();
    if (any_says(r, "die")) std::_Exit(3);
    if (any_says(r, "babble")) return say("babble");
    Json answer = cut_of(r);
    for (std::size_t i = 0; i < r["documents"].size(); ++i) {
        if (r["documents"][i].get_ref<const std::string&>().find("refuse") == std::string::npos) continue;
        answer["chunks"][i] = {{"error", {{"class", "content"}, {"message", "not this one"}}}};
    }
    say(answer.dump());
}

const std::map<std::string, Mode>& cutting_modes() {
    static const std::map<std::string, Mode> table{
        {"good", [](const Json& r) { say(cut_of(r).dump()); }},
        {"moody", cut_or_fail},  // as the texts say
        {"whole-refusal",
         [](const Json& r) {
             if (!any_says(r, "refuse")) return say(cut_of(r).dump());
             say(Json{{"id", r["id"]}, {"error", {{"class", "content"}, {"message", "none of these"}}}}.dump());
         }},
        {"half",
         [](const Json& r) {
             std::cout << cut_of(r).dump().substr(0, 20) << std::flush;
             std::_Exit(0);
         }},
        {"few-lists",
         [](const Json& r) {
             Json answer = cut_of(r);
             answer["chunks"].erase(0);
             say(answer.dump());
         }},
        {"outside", with_list([](Json& list) { list[0]["end"] = 1'000'000; })},
        {"negative", with_list([](Json& list) { list[0]["start"] = -1; })},
        {"inside", with_list([](Json& list) { list[0]["start"] = 1; })},
        {"empty", with_list([](Json& list) { list[0]["end"] = list[0]["start"]; })},
        {"backwards", with_list([](Json& list) { std::swap(list[0], list[1]); })},
        {"again", with_list([](Json& list) { list.insert(list.begin(), list[0]); })},
        {"blank", with_list([](Json& list) {
             list.push_back({{"start", list.back()["end"]}, {"end", list.back()["end"].get<int>() + 1}});
         })},
        {"long-context", with_list([](Json& list) { list[0]["context"] = std::string(1'001, 'x'); })},
        {"two-line-context", with_list([](Json& list) { list[0]["context"] = "a\nb"; })},
        {"number-context", with_list([](Json& list) { list[0]["context"] = 1; })},
        {"no-offsets", with_list([](Json& list) { list[0].erase("end"); })},
        {"many", with_list([](Json& list) {
             const Json one = list[0];
             list = Json::array();
             for (int i = 0; i < 20'001; ++i) list.push_back({{"start", 9 + i / 2}, {"end", 10 + i / 2 + i % 2}});
         })},
        {"everything-twice", with_list([](Json& list) {
             const int end = list.back()["end"];
             list = Json::array();
             for (int i = 8; i < 5'000; ++i) list.push_back({{"start", i}, {"end", end}});
         })},
    };
    return table;
}

}  // namespace

int main(int argc, char** argv) {
    std::string mode = argc > 1 ? argv[1] : "good";
    const bool mode_spoils_probe = mode.starts_with("probe-");
    if (mode_spoils_probe) mode.erase(0, std::strlen("probe-"));
    if (mode == "exit") return 3;
    // Spoilt while the file named is there: what is repaired from outside.
    const bool spoilt = argc < 3 || std::filesystem::exists(argv[2]);
    const bool spoil_probe = mode_spoils_probe || (argc >= 3 && std::filesystem::exists(std::string(argv[2]) + ".probe"));
    std::ios::sync_with_stdio(false);
    for (std::string line; std::getline(std::cin, line);) {
        const Json request = Json::parse(line);
        const bool cuts = request.contains("op");
        const bool probe = request[cuts ? "documents" : "texts"][0].get<std::string>().ends_with(kProbeText);
        const bool well = !spoilt || (probe && !spoil_probe);
        const auto& table = cuts && (well || cutting_modes().contains(mode)) ? cutting_modes() : modes();
        table.at(well ? "good" : mode)(request);
    }
    return 0;
}
