// A fresh database and the program on it: what every test of the whole begins with.
#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <string>

#include "tests/kit/fake_endpoint.hpp"
#include "tests/kit/invariants.hpp"

namespace homeostat {

// `run --once` and `plan` end with these.
inline constexpr int kConverged = 0;
inline constexpr int kDriftLeft = 1;
inline constexpr int kFailed = 2;

class World : public ::testing::Test {
protected:
    // `columns` and `values` beside name, source, provider, target and small vectors.
    void declare(const std::string& name, const std::string& source, const std::string& columns, const std::string& values) {
        db.exec(fmt::format(
            "INSERT INTO homeostat.pipeline (name, source, provider, dimensions, target, {}) VALUES ('{}', '{}', '{}', 16,"
            " 'public.{}_embeddings', {})",
            columns, name, source, provider, name, values));
    }

    void declare_endpoint(const kit::FakeEndpoint& endpoint, const std::string& more = "") {
        db.exec(
            fmt::format("INSERT INTO homeostat.provider (name, endpoint, model, dimensions, max_batch, max_in_flight, timeout)"
                        " VALUES ('fake', '{}', 'm', 16, 16, 2, '10 seconds'){}",
                        endpoint.url(), more));
        provider = "fake";
    }

    kit::Program::Outcome run_once(int expected, const kit::Environment& more = {}) {
        kit::Program::Outcome outcome = homeostat.run_once(more);
        EXPECT_EQ(outcome.exit.code, expected) << outcome.output;
        return outcome;
    }

    // Contents and vectors too: what was done to our own tables by hand no version tells of.
    void run_deep(int expected) {
        const kit::Program::Outcome outcome = homeostat.run({"run", "--once", "--deep"});
        EXPECT_EQ(outcome.exit.code, expected) << outcome.output;
    }

    void expect_converged(const std::string& pipeline, const std::string& wanted) {
        EXPECT_THAT(kit::broken_invariants(db, pipeline, wanted), ::testing::IsEmpty());
    }

    // Waits for it, and stops it then: what a process leaves when it is stopped in the midst of its work is as true, and not
    // this.
    void end_converged(kit::Process& process, const std::string& pipeline, const std::string& wanted) {
        kit::eventually([&] { return kit::broken_invariants(db, pipeline, wanted).empty(); });
        end(process);
        expect_converged(pipeline, wanted);
    }

    // Stopped as an orchestrator does, it gives back what it holds and ends well.
    void end(kit::Process& process) {
        process.signal(SIGTERM);
        EXPECT_EQ(process.wait(std::chrono::seconds(40)).value_or(kit::Exit{}).code, 0) << process.output();
    }

    std::int64_t number(const std::string& sql) { return std::stoll(db.value(sql)); }
    std::int64_t embedded() { return number("SELECT coalesce(sum(embedded), 0) FROM homeostat.batch_history"); }
    std::string condition(const std::string& pipeline, const std::string& type, const std::string& column = "status") {
        return kit::condition(db, pipeline, type, column);
    }
    bool eventually_is(const std::string& sql, const std::string& value,
                       std::chrono::milliseconds timeout = std::chrono::seconds(30)) {
        return kit::eventually([&] { return db.value(sql) == value; }, timeout);
    }

    kit::Database db;
    kit::Program homeostat{db.url()};
    std::string provider = "hashing";
};

}  // namespace homeostat
