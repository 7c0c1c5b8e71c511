#include "store/data/target_mark.hpp"

namespace homeostat {

namespace {

// Each relation is looked at once, however many targets rest on it. UNION, because a view may reach a table by several ways.
const Statement kMarks{"target_marks", R"(
    WITH RECURSIVE wanted AS (
        SELECT w.i, w.uid, w.revision, p.generation, p.provider, to_regclass(p.source)::oid AS source,
            (SELECT r.provider FROM homeostat.revision r WHERE r.uid = w.uid AND r.revision = w.revision) AS made_by, p.revision_pin,
            concat_ws(',', p.declared_by, o.oid, o.rolsuper, o.rolbypassrls) AS declarer
        FROM unnest($1::bigint[], $2::int[]) WITH ORDINALITY AS w(uid, revision, i)
        LEFT JOIN homeostat.pipeline p ON p.uid = w.uid LEFT JOIN pg_roles o ON o.rolname = p.declared_by
    ), rests_on (source, oid) AS (
        SELECT DISTINCT source, source FROM wanted WHERE source IS NOT NULL
        UNION
        SELECT r.source, d.refobjid FROM rests_on r
        JOIN pg_rewrite w ON w.ev_class = r.oid
        JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
        WHERE d.refobjid <> r.oid
    ), relation AS (
        SELECT c.oid, concat_ws('|', c.oid, c.relkind, c.relname, c.relnamespace, c.relowner, c.relacl,
            has_table_privilege(c.oid, 'SELECT'), c.relrowsecurity, c.relforcerowsecurity, c.reloptions,
            (SELECT n.nspacl FROM pg_namespace n WHERE n.oid = c.relnamespace),
            (SELECT string_agg(concat_ws(',', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attcollation, a.attnotnull, a.attacl),
                               ';' ORDER BY a.attnum)
             FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
            (SELECT string_agg(concat_ws(',', i.indexrelid, i.indisvalid, i.indkey), ';' ORDER BY i.indexrelid)
             FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique),
            (SELECT string_agg(concat_ws(',', w.oid, w.xmin), ';' ORDER BY w.oid) FROM pg_rewrite w WHERE w.ev_class = c.oid)) AS mark
        FROM pg_class c WHERE c.oid IN (SELECT oid FROM rests_on)
    ), source AS (
        SELECT r.source, string_agg(n.mark, ' ' ORDER BY n.oid) AS mark FROM rests_on r JOIN relation n USING (oid) GROUP BY r.source
    ), provider AS (
        SELECT p.name, string_agg(concat_ws(':', q.uid, q.generation), ' ' ORDER BY q.uid) AS mark
        FROM homeostat.provider p JOIN homeostat.provider q ON q.uid = p.uid OR q.pool = p.pool
        WHERE p.name IN (SELECT provider FROM wanted UNION SELECT made_by FROM wanted) GROUP BY p.name
    )
    SELECT md5(concat_ws(E'\n', w.generation, w.revision_pin, w.provider, p.mark, m.mark, r.xmin, s.mark, w.declarer,
        (SELECT count(*) FROM homeostat.revision n WHERE n.uid = w.uid AND n.state = 'building'),
        (SELECT concat_ws(',', count(*), sum(m.xmin::text::bigint)) FROM pg_auth_members m),
        (SELECT concat_ws(':', e.oid, e.extversion, e.extnamespace) FROM pg_extension e WHERE e.extname = 'vector')))
    FROM wanted w
    LEFT JOIN homeostat.revision r ON r.uid = w.uid AND r.revision = w.revision
    LEFT JOIN provider p ON p.name = w.provider
    LEFT JOIN provider m ON m.name = w.made_by
    LEFT JOIN source s ON s.source = w.source
    ORDER BY w.i)"};

template <class F>
std::string numbers(const std::vector<TargetName>& targets, F of) {
    std::string out = "{";
    for (const TargetName& t : targets) out += (out.size() > 1 ? "," : "") + std::to_string(of(t));
    return out + "}";
}

}  // namespace

Result<std::vector<std::string>> read_target_marks(Session& session, const std::vector<TargetName>& targets) {
    return guarded([&] {
        const Rows rows = session.exec(kMarks, Params::of(numbers(targets, [](const TargetName& t) { return t.uid; }),
                                                          numbers(targets, [](const TargetName& t) { return t.revision; })));
        std::vector<std::string> marks;
        for (int i = 0; i < rows.size(); ++i) marks.push_back(rows.text(i, 0));
        return marks;
    });
}

}  // namespace homeostat
