-- Nothing: earlier versions work with these indexes too, and the former ones could not be built where keys are long.
SELECT;
