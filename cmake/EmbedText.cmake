# embed_text(OUT_VAR FILE): the text of FILE as a C++ raw string literal.
function(embed_text out file)
  file(READ "${file}" text)
  if(text MATCHES "\\)homeostat~\"")
    message(FATAL_ERROR "${file} holds the end mark of the literal it is embedded in")
  endif()
  set(${out} "R\"homeostat~(${text})homeostat~\"" PARENT_SCOPE)
endfunction()
