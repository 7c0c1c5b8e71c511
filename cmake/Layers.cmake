# homeostat_library(NAME SOURCES a.cpp ... PUBLIC layers... PRIVATE libs... PRECOMPILE headers...)
# One static library of a layer. PUBLIC is for layers (their headers appear in ours), PRIVATE for third parties. PRECOMPILE names what
# most of its sources include of others and takes long to read; every source includes it all the same, as only HOMEOSTAT_PCH uses it.
function(homeostat_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE;PRECOMPILE" ${ARGN})
  if(NOT ARG_SOURCES)
    add_library(${name} INTERFACE)
    target_include_directories(${name} INTERFACE "${CMAKE_SOURCE_DIR}")
    target_link_libraries(${name} INTERFACE ${ARG_PUBLIC})
    return()
  endif()
  add_library(${name} STATIC ${ARG_SOURCES})
  target_include_directories(${name} PUBLIC "${CMAKE_SOURCE_DIR}")
  target_link_libraries(${name} PUBLIC ${ARG_PUBLIC} PRIVATE homeostat_warnings ${ARG_PRIVATE})
  if(HOMEOSTAT_PCH AND ARG_PRECOMPILE)
    list(TRANSFORM ARG_PRECOMPILE REPLACE "^(.+)$" "<\\1>")
    target_precompile_headers(${name} PRIVATE ${ARG_PRECOMPILE})
  endif()
endfunction()

# homeostat_embed_files(OUT.cpp SCRIPT FILES ...): runs cmake/SCRIPT at build time to write OUT.cpp from FILES.
function(homeostat_embed_files output script)
  cmake_parse_arguments(ARG "" "" "FILES" ${ARGN})
  string(REPLACE ";" "|" joined "${ARG_FILES}")
  add_custom_command(
    OUTPUT "${output}"
    COMMAND "${CMAKE_COMMAND}" "-DOUTPUT=${output}" "-DFILES=${joined}" -P "${CMAKE_SOURCE_DIR}/cmake/${script}"
    DEPENDS ${ARG_FILES} "${CMAKE_SOURCE_DIR}/cmake/${script}" "${CMAKE_SOURCE_DIR}/cmake/EmbedText.cmake"
    COMMENT "Embedding files into ${output}"
    VERBATIM)
endfunction()

# The same texts in every run of ctest, so that a change is judged by what it changed. Other seeds are tried by hand: run the
# binary itself, with RC_PARAMS="max_success=5000".
set(HOMEOSTAT_PROPERTY_SEED 20261127 CACHE STRING "seed of the property tests under ctest")

# homeostat_test(NAME LABELS unit|pg|integration|chaos|conformance SOURCES ... LIBS ...)
# One test binary, one ctest entry. Every label but "unit" has the shared PostgreSQL cluster, which ctest starts once a run, and
# finds the program under test in HOMEOSTAT_BINARY.
function(homeostat_test name)
  cmake_parse_arguments(ARG "" "" "LABELS;SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE homeostat_warnings homeostat_kit ${ARG_LIBS} GTest::gtest GTest::gmock_main rapidcheck
                                        rapidcheck_gtest)
  add_test(NAME ${name} COMMAND ${name} --gtest_brief=1)
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT 300
                                          ENVIRONMENT "RC_PARAMS=seed=${HOMEOSTAT_PROPERTY_SEED}")
  # `ninja unit_tests` builds what `ctest -L unit` runs; so for each label.
  foreach(label IN LISTS ARG_LABELS)
    if(NOT TARGET ${label}_tests)
      add_custom_target(${label}_tests)
    endif()
    add_dependencies(${label}_tests ${name})
  endforeach()
  if(NOT "unit" IN_LIST ARG_LABELS)
    target_link_libraries(${name} PRIVATE homeostat_kit_pg)
    set_tests_properties(${name} PROPERTIES FIXTURES_REQUIRED postgres)
    set_property(TEST ${name} APPEND PROPERTY ENVIRONMENT
      "HOMEOSTAT_TEST_CLUSTER=${HOMEOSTAT_TEST_CLUSTER_FILE};HOMEOSTAT_BINARY=${CMAKE_BINARY_DIR}/homeostat;HOMEOSTAT_MODEL_DIR=${HOMEOSTAT_DEPS_DIR}/model")
  endif()
endfunction()
