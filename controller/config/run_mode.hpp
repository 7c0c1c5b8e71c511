// How a controller runs, beside its settings. A value.
#pragma once

namespace homeostat {

struct RunMode {
    bool once = false;  // every pipeline is reconciled until nothing is left to do, and nothing is watched
    bool migrate = false;  // a schema of an earlier version is brought up to this program's first
    bool deep = false;  // contents are compared and vectors are looked at, though no deep sweep is due
};

}  // namespace homeostat
