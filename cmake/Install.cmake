# The binary, what to read, and examples to start from.
if(TARGET homeostat)
  install(TARGETS homeostat RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endif()
install(DIRECTORY docs/ DESTINATION "${CMAKE_INSTALL_DOCDIR}" OPTIONAL)
install(DIRECTORY manifests/ DESTINATION "${CMAKE_INSTALL_DATADIR}/homeostat/manifests" OPTIONAL)
foreach(page README.md ARCHITECTURE.md CHANGELOG.md LICENSE)
  install(FILES "${CMAKE_SOURCE_DIR}/${page}" DESTINATION "${CMAKE_INSTALL_DOCDIR}" OPTIONAL)
endforeach()
