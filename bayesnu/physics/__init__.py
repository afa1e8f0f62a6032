"""Cross sections and kinematics: pure functions of arrays, natural units (GeV) inside, cm² outside."""
