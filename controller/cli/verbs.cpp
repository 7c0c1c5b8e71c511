#include "controller/cli/verbs.hpp"

#include <array>

namespace homeostat {

namespace {

constexpr std::array kVerbs{
    Verb{"run", "Keep every pipeline in sync until stopped, or until nothing is left to do (--once).", configure_run},
    Verb{"apply", "Declare what the manifests say: all of it, or nothing where one object is refused.", configure_apply},
    Verb{"diff", "Show what applying manifests would change, and what that would cost.", configure_diff},
    Verb{"get", "List what is declared and what the controller writes about it, or print it as manifests.", configure_get},
    Verb{"describe", "Show everything about pipelines, providers or target views: what to do, spec, status, runs, events.",
         configure_describe},
    Verb{"status", "Say whether all is well, and if not, what to do.", configure_status},
    Verb{"wait", "Wait until pipelines are ready, or until another condition holds.", configure_wait},
    Verb{"delete", "Ask for pipelines, providers or target views to be deleted.", configure_delete},
    Verb{"suspend", "Stop healing pipelines until they are resumed.", configure_suspend},
    Verb{"resume", "Heal suspended pipelines again.", configure_resume},
    Verb{"reconcile", "Ask for a pass over pipelines now, ahead of everything else.", configure_reconcile},
    Verb{"approve", "Approve what waits: blocked deletions, a spent budget, a run that costs more than declared.",
         configure_approve},
    Verb{"plan", "Show what a pass would find and what healing would take, writing nothing.", configure_plan},
    Verb{"validate", "Say how a pipeline's source maps, what is missing, what will be slow and why, and what would help.",
         configure_validate},
    Verb{"watch", "Follow the progress of pipelines.", configure_watch},
    Verb{"explain", "Say why one document is or is not embedded.", configure_explain},
    Verb{"trace", "Draw what a run did, span by span, or the way of one document from edit to search.", configure_trace},
    Verb{"dead-letters", "List the documents that were refused, or have them tried again.", configure_dead_letters},
    Verb{"revisions", "List the revisions of a pipeline, serve another one again, stop a fill, or drop one.",
         configure_revisions},
    Verb{"erase", "Take every trace of a document away for good, and show the receipts.", configure_erase},
    Verb{"checkpoint", "Name a point that a pipeline's vectors can be taken back to, or list or drop those that are named.",
         configure_checkpoint},
    Verb{"rollback", "Take a pipeline's vectors back to a checkpoint, exactly, and pin them there until it is resumed.",
         configure_rollback},
    Verb{"adopt", "Take over vectors that somebody else has made, after comparing a sample.", configure_adopt},
    Verb{"import", "Print manifests, and the commands that take vectors over, of what pgai, pgedge or a sink has.",
         configure_import},
    Verb{"capture", "Print the triggers of a change feed as SQL.", configure_capture},
    Verb{"grants", "Print what a pipeline needs of the roles around it, as SQL.", configure_grants},
    Verb{"factory", "Show replica capabilities and current work, where they differ from what is declared, and what to change.",
         configure_factory},
    Verb{"audit", "Compare stored vectors with what their provider makes of the same texts now.", configure_audit},
    Verb{"search", "Search a pipeline's documents by meaning.", configure_search},
    Verb{"doctor", "Examine database, rights, providers and memory, with a fix for each problem.", configure_doctor},
    Verb{"config", "Check the settings, and show where each value comes from.", configure_config},
    Verb{"migrate", "Bring the schema of the database up or down, or show where it stands.", configure_migrate},
    Verb{"completion", "Print what lets a shell complete command lines of this program.", configure_completion},
    Verb{"man", "Print the manual page.", configure_man},
    Verb{"version", "Print the version of this program and of the schema it wants.", configure_version},
};

}  // namespace

std::span<const Verb> verb_table() { return kVerbs; }

}  // namespace homeostat
