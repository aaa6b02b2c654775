"""What an entry takes and gives: tensors, data types, signatures, and how they are found."""
