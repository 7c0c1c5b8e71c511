#include "controller/embedders.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "controller/config/config_lists.hpp"
#include "core/outside_text.hpp"
#include "core/sync.hpp"
#include "reconcilers/embed/exec.hpp"
#include "reconcilers/embed/inprocess.hpp"
#include "reconcilers/embed/openai.hpp"

namespace homeostat {

namespace {

class Maker {
public:
    Maker(const Settings& settings, EmbedderExecutors on, const Clock& clock, Telemetry telemetry)
        : model_dir_(settings.embed_model_dir),
          threads_(settings.embed_threads > 0 ? settings.embed_threads : std::max(1U, std::thread::hardware_concurrency())),
          on_(std::move(on)),
          clock_(clock),
          telemetry_(telemetry),
          outbound_(outbound_of(settings)) {
        exec_.rules = {listed_words(settings.exec_allow), listed_words(settings.exec_read),
                       listed_words(settings.exec_environment)};
    }

    Result<std::shared_ptr<Embedder>> make(const ProviderSpec& provider, const std::string& model, std::uint32_t dimensions)
        EXCLUDES(mutex_) {
        Result<std::shared_ptr<Embedder>> made = make_of_kind(provider, model, dimensions);
        if (made) return made;
        // It quotes what was declared, of any length.
        Error error = std::move(made).error();
        error.message = outside_text(error.message);
        return error;
    }

private:
    Result<std::shared_ptr<Embedder>> make_of_kind(const ProviderSpec& provider, const std::string& model,
                                                   std::uint32_t dimensions) EXCLUDES(mutex_) {
        Result<std::unique_ptr<Embedder>> made =
            invalid(fmt::format("provider \"{}\": kind \"{}\" is not known", provider.name, provider.kind));
        if (provider.kind == "hashing") {
            made = make_hashing_embedder(dimensions, options());
        } else if (provider.kind == "openai") {
            made = make_openai_embedder(provider, model, dimensions, on_.io, clock_, telemetry_, outbound_);
        } else if (provider.kind == "local") {
            Result<std::shared_ptr<const LocalModel>> weights = local_model();
            if (!weights) return weights.error();
            made = make_local_embedder(*weights, dimensions, options());
        }
        if (provider.kind == "exec") {
            Result<std::unique_ptr<ExecEmbedder>> program =
                make_exec_embedder(provider, model, dimensions, on_.io, clock_, telemetry_, exec_);
            if (!program) return program.error();
            return std::shared_ptr<Embedder>(*std::move(program));
        }
        if (!made) return made.error();
        return std::shared_ptr<Embedder>(*std::move(made));
    }

    // What cannot be read was refused when the settings were loaded; here it allows nothing.
    static std::shared_ptr<const Outbound> outbound_of(const Settings& settings) {
        Result<Outbound> outbound = Outbound::of(settings.secrets, settings.provider_allow_hosts);
        return std::make_shared<const Outbound>(outbound ? *std::move(outbound) : Outbound());
    }

    InProcessOptions options() const { return {on_.cpu, &clock_, threads_, on_.quick}; }

    Result<std::shared_ptr<const LocalModel>> local_model() EXCLUDES(mutex_) {
        const Lock lock(mutex_);
        if (local_) return local_;
        Result<std::shared_ptr<const LocalModel>> loaded = load_local_model(model_dir_);
        if (loaded) local_ = *loaded;
        return loaded;
    }

    const std::string model_dir_;
    const std::uint32_t threads_;
    const EmbedderExecutors on_;
    const Clock& clock_;
    Telemetry telemetry_;
    const std::shared_ptr<const Outbound> outbound_;
    ExecOptions exec_;
    Mutex mutex_;
    std::shared_ptr<const LocalModel> local_ GUARDED_BY(mutex_);
};

}  // namespace

EmbedderMaker make_embedder_maker(const Settings& settings, EmbedderExecutors on, const Clock& clock, Telemetry telemetry) {
    auto maker = std::make_shared<Maker>(settings, std::move(on), clock, telemetry);
    return [maker](const ProviderSpec& provider, const std::string& model, std::uint32_t dimensions) {
        return maker->make(provider, model, dimensions);
    };
}

}  // namespace homeostat
